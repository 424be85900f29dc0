//! Whether a session that comes from somewhere can be an account's of a host, as the servers decide it: expressions, since a stored function
//! could be replaced, and takes rights of a superuser where the server writes a binary log.

/// Whether a place (as the server shows it, without a port) certainly is one of the pattern's. Of what runs in an event the server shows the
/// account's pattern itself.
#[must_use]
pub fn certain(pattern: &str, place: &str) -> String {
    format!(
        "IF({pattern} LIKE '%/%', LOWER({pattern}) = {place} \
         OR IS_IPV4({place}) AND (INET_ATON({place}) & {}) = INET_ATON(SUBSTRING_INDEX({pattern}, '/', 1)), {place} LIKE {pattern})",
        mask(pattern)
    )
}

/// Whether it may be: the server shows a name, and the pattern is about addresses.
#[must_use]
pub fn perhaps(pattern: &str, has_port: &str, place: &str) -> String {
    format!("({has_port} AND NOT IS_IPV4({place}) AND NOT IS_IPV6({place}) AND {pattern} REGEXP '^[0-9a-fA-F.:%_/]+$')")
}

/// The more specific a pattern, the greater: what names one host, then networks, then patterns by how far they are literal.
#[must_use]
pub fn specific(pattern: &str) -> String {
    format!(
        "(CASE WHEN {pattern} LIKE '%/%' THEN 1000 + BIT_COUNT({}) WHEN {pattern} NOT REGEXP '[%_]' THEN 2000 \
         ELSE LEAST(LOCATE('%', CONCAT({pattern}, '%')), LOCATE('_', CONCAT({pattern}, '_'))) END)",
        mask(pattern)
    )
}

/// The mask of `10.0.0.0/8` or `10.0.0.0/255.0.0.0`.
fn mask(pattern: &str) -> String {
    let mask = format!("SUBSTRING_INDEX({pattern}, '/', -1)");
    format!("IF({mask} LIKE '%.%', INET_ATON({mask}), (4294967295 << (32 - {mask})) & 4294967295)")
}
