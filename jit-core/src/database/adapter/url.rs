//! URLs of servers.

use secrecy::SecretString;

/// Splits `scheme://user:password@rest` into the URL without the password, and the password. The
/// scheme must be one of those given.
///
/// # Errors
/// The reason why the URL cannot be read; it never holds any of the password.
pub fn without_password(schemes: &[&str], url: &str) -> Result<(String, Option<SecretString>), String> {
    let scheme = schemes.iter().find(|scheme| url.starts_with(**scheme));
    let Some((scheme, rest)) = scheme.and_then(|scheme| Some((scheme, url.strip_prefix(scheme)?))) else {
        return Err(format!("the URL does not begin with {}", schemes.join(" or ")));
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if path.contains('@') {
        let why = "the URL has an @ after the host: percent-encode special characters of user and password \
                   (`/` is %2F, `?` is %3F, `@` is %40)";
        return Err(why.to_owned());
    }
    let Some((user_info, host)) = authority.rsplit_once('@') else {
        return Ok((url.to_owned(), None));
    };
    let Some((user, password)) = user_info.split_once(':') else {
        return Ok((url.to_owned(), None));
    };
    let password = decoded("password", password)?;
    let password = (!password.is_empty()).then(|| SecretString::from(password));
    Ok((format!("{scheme}{user}@{host}{path}"), password))
}

/// Decodes the percent-encoding of a part of a URL.
///
/// # Errors
/// The reason why the part cannot be read, which does not hold the part itself.
pub fn decoded(part: &str, text: &str) -> Result<String, String> {
    percent_decoded(text).ok_or_else(|| format!("the {part} in the URL is not percent-encoded right: write `%` as %25"))
}

/// Reason to refuse a URL's parameter that says how the connection is protected.
pub const SAID_BY_TLS: &str = "the URL does not say how the connection is protected: the target's setting `tls` does";

/// Reason to refuse a URL's parameter that holds the password.
pub const SAID_BY_CREDENTIALS: &str = "give the password by password_file, password_env or password_command";

/// Refuses the first parameter after the `?` of a URL that has a reason to be refused.
///
/// # Errors
/// Names the parameter, and the reason.
pub fn refuse_parameters(query: &str, refusal: impl Fn(&str) -> Option<String>) -> Result<(), String> {
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        if let Some(why) = refusal(name) {
            let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
            return Err(format!("the URL's parameter `{shown}` is not accepted: {why}"));
        }
    }
    Ok(())
}

/// Decodes percent-encoding: `%41` is `A`. Returns `None` if the text is not encoded right.
#[must_use]
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high.checked_mul(16)?.checked_add(low)?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn law_12_a_password_in_a_url_is_taken_out_of_it() {
        let (clean, password) = without_password(&["postgres://"], "postgres://u:p%40ss@h/d").unwrap();
        assert_eq!(clean, "postgres://u@h/d");
        assert_eq!(password.unwrap().expose_secret(), "p@ss");
        for wrong in ["postgres://u:hunter2/x@h/d", "postgres://u:hun%ter2@h/d", "hunter2"] {
            let error = without_password(&["postgres://", "postgresql://"], wrong).unwrap_err();
            assert!(!error.contains("hunt"), "{error}");
        }
    }
}
