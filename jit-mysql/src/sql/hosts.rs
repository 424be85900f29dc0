//! Expressions that decide, as the servers do, whether a session from some host can be an
//! account's. They are no stored function: that could be replaced, and it takes a superuser's
//! rights if the server writes a binary log.

use std::ops::RangeInclusive;

/// Lengths in bytes of a client's host, as the server shows it, of which the end may be missing.
///
/// MariaDB and MySQL before 8.0.17 show 63 bytes, and 64 of a host without a port. A port that does
/// not fit may be missing as a whole, so that a name of 58 bytes and a `:` are left. Later versions
/// of MySQL show everything.
pub(crate) const CUT: RangeInclusive<usize> = 59..=64;

/// Returns the expression that checks whether a session can be an account's. `pattern` is the
/// account's host, and `place` holds columns of [`place`].
#[must_use]
pub fn may_match(pattern: &str, place: &str) -> String {
    let (host, port) = (format!("{place}.place"), format!("{place}.has_port"));
    format!(
        "IF({place}.is_cut, {}, {} OR {})",
        begins(pattern, &host),
        certain(pattern, &host),
        perhaps(pattern, &port, &host)
    )
}

/// Returns the columns that tell where a session comes from, of a host as the server shows it.
/// `place` is the client's host without its port, `has_port` and `is_cut` are conditions.
#[must_use]
pub fn place(host: &str) -> String {
    format!(
        "{host} REGEXP ':[0-9]+$' AS has_port, LENGTH({host}) BETWEEN {} AND {} AS is_cut,
      LOWER(CONVERT(IF({host} REGEXP ':[0-9]+$', LEFT({host}, CHAR_LENGTH({host}) - LOCATE(':', REVERSE({host}))), {host}) USING utf8mb4)) COLLATE utf8mb4_bin AS place",
        CUT.start(),
        CUT.end()
    )
}

/// Returns the expression that checks whether a client's host of which the end may be missing can
/// match. Only another name surely does not.
fn begins(pattern: &str, place: &str) -> String {
    format!(
        "({pattern} REGEXP '[%_/]' OR {pattern} REGEXP '^[0-9a-fA-F.:]+$' \
         OR LOCATE(TRIM(TRAILING ':' FROM {place}), LOWER({pattern})) = 1)"
    )
}

/// Returns the expression that checks whether a client's host (as the server shows it, without a
/// port) certainly matches the pattern. For a session that runs in an event, the server shows the
/// account's pattern itself.
#[must_use]
pub fn certain(pattern: &str, place: &str) -> String {
    format!(
        "IF({pattern} LIKE '%/%', LOWER({pattern}) = {place} \
         OR IS_IPV4({place}) AND (INET_ATON({place}) & {}) = INET_ATON(SUBSTRING_INDEX({pattern}, '/', 1)), {place} LIKE {pattern})",
        mask(pattern)
    )
}

/// Returns the expression that checks whether it may match: the server shows a name, and the
/// pattern is about addresses.
fn perhaps(pattern: &str, has_port: &str, place: &str) -> String {
    format!("({has_port} AND NOT IS_IPV4({place}) AND NOT IS_IPV6({place}) AND {pattern} REGEXP '^[0-9a-fA-F.:%_/]+$')")
}

/// Returns the expression for the rank of a pattern: the more specific, the greater. Single hosts
/// come first, then networks, then patterns by the length of their literal part.
#[must_use]
pub fn specific(pattern: &str) -> String {
    format!(
        "(CASE WHEN {pattern} LIKE '%/%' THEN 1000 + BIT_COUNT({}) WHEN {pattern} NOT REGEXP '[%_]' THEN 2000 \
         ELSE LEAST(LOCATE('%', CONCAT({pattern}, '%')), LOCATE('_', CONCAT({pattern}, '_'))) END)",
        mask(pattern)
    )
}

/// Returns the expression for the mask of `10.0.0.0/8` or `10.0.0.0/255.0.0.0`.
fn mask(pattern: &str) -> String {
    let mask = format!("SUBSTRING_INDEX({pattern}, '/', -1)");
    format!("IF({mask} LIKE '%.%', INET_ATON({mask}), (4294967295 << (32 - {mask})) & 4294967295)")
}
