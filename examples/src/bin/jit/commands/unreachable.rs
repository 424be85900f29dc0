//! Fixes for a target that cannot be reached, by the words of its error.

use jit_core::id::TargetName;

/// Words of errors, in small letters, and the fix for each. The first that fits counts.
const MENDS: [(&[&str], &str); 9] = [
    (
        &["does not support tls", "offers no tls", "speaks no tls"],
        "switch TLS on at the server; where nobody else can read the network, tls = { mode = \"danger-plaintext\" } does without",
    ),
    (
        &["unknownissuer"],
        "name the file of the authority that signed the server's certificate: tls = { mode = \"verify-full\", ca = \"ca.pem\" }",
    ),
    (
        &["not valid for name", "notvalidforname", "certificate is not for"],
        "write a host of the certificate into the URL, or name it: tls = { mode = \"verify-full\", ca = \"ca.pem\", server_name = \"NAME\" }",
    ),
    (
        &["certificate expired", "certificate: expired"],
        "renew the server's certificate, or put this machine's clock right",
    ),
    (
        &["certificate not valid yet", "certificate: notvalidyet"],
        "put this machine's clock right, or the date of the server's certificate",
    ),
    (
        &["causedasendentity"],
        "the server shows the certificate of an authority as its own: give it one that the authority signed",
    ),
    (&["tls", "certificate"], "look at `tls` of the target, and at the certificate that the server shows"),
    (
        &[
            "password authentication failed",
            "access denied for user",
            "login failed",
            "no pg_hba.conf entry",
            "does not exist",
        ],
        LOGIN,
    ),
    (
        &["connection refused", "timed out", "lookup", "unreachable", "no route"],
        "start the server, or put host and port of the target's URL right",
    ),
];

/// Fix if the broker may not log in, or its account does not exist.
const LOGIN: &str = "put user, password and database of the target right; where the broker's account is missing, `jit doctor --sql TARGET` prints \
                     the script that makes it, and needs no connection for that";

/// Returns the fix, in a sentence.
pub(super) fn remedy(target: &TargetName, error: &str) -> String {
    let said = error.to_ascii_lowercase();
    let fits = |words: &&[&str]| words.iter().any(|word| said.contains(word));
    let remedy = MENDS.iter().find(|(words, _)| fits(words)).map(|(_, remedy)| *remedy);
    remedy.unwrap_or("put the target's URL, password and `tls` right").replace("TARGET", target.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_mend() {
        let target = TargetName::new("orders-prod").unwrap();
        let tls = "error performing TLS handshake";
        for (error, says) in [
            (format!("{tls}: server does not support TLS"), "danger-plaintext"),
            ("the server speaks no TLS: switch it on there".to_owned(), "danger-plaintext"),
            (format!("{tls}: invalid peer certificate: UnknownIssuer"), "authority that signed"),
            (
                format!(
                    "{tls}: invalid peer certificate: certificate not valid for name \"db\"; certificate is only valid for DnsName(\"x\")"
                ),
                "server_name",
            ),
            (format!("{tls}: the server's certificate is not for `db`"), "server_name"),
            (format!("{tls}: invalid peer certificate: certificate expired: verification time 1 (UNIX)"), "renew"),
            (format!("{tls}: invalid peer certificate: BadSignature"), "the certificate that the server shows"),
            (
                "password authentication failed for user \"jit_broker\"; check the broker's password".to_owned(),
                "`jit doctor --sql orders-prod`",
            ),
            ("Access denied for user 'jit_broker'@'localhost' (using password: YES)".to_owned(), "--sql orders-prod"),
            ("Login failed for user 'jit_broker'.".to_owned(), "--sql orders-prod"),
            ("error connecting to server: Connection refused (os error 111)".to_owned(), "host and port"),
            ("the password cannot be read from `password`: No such file".to_owned(), "URL, password and `tls`"),
        ] {
            let remedy = remedy(&target, &error);
            assert!(remedy.contains(says), "{error}\n{remedy}");
        }
    }
}
