//! Expressions that decide, as the servers do, whether a session from some host can be an
//! account's. They are no stored function: that could be replaced, and it takes a superuser's
//! rights if the server writes a binary log.

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
#[must_use]
pub fn perhaps(pattern: &str, has_port: &str, place: &str) -> String {
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
