//! The PRELOGIN message (2.2.6.5), which negotiates encryption.

/// Encryption that the client wishes or the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// Encryption of the login only.
    Off,
    On,
    NotSupported,
    Required,
}

/// Fields of a PRELOGIN that matter here.
#[derive(Debug)]
pub(crate) struct Prelogin {
    pub encryption: Encryption,
}

impl Prelogin {
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut at = 0;
        let mut encryption = Encryption::NotSupported;
        loop {
            let token = *body.get(at)?;
            if token == 0xff {
                return Some(Self { encryption });
            }
            let entry: [u8; 4] = body.get(at + 1..at + 5)?.try_into().ok()?;
            let offset = usize::from(u16::from_be_bytes([entry[0], entry[1]]));
            if token == 1 {
                encryption = match body.get(offset)? & 0x03 {
                    0 => Encryption::Off,
                    1 => Encryption::On,
                    2 => Encryption::NotSupported,
                    _ => Encryption::Required,
                };
            }
            at += 5;
        }
    }

    /// Writes the server's answer.
    pub(crate) fn answer(version: &str, encryption: Encryption) -> Vec<u8> {
        let numbers: Vec<u16> = version.split('.').map(|n| n.parse().unwrap_or(0)).collect();
        let part = |i: usize| numbers.get(i).copied().unwrap_or(0);
        let mut data = vec![part(0) as u8, part(1) as u8];
        data.extend(part(2).to_be_bytes());
        data.extend([0, 0]);
        data.push(match encryption {
            Encryption::Off => 0,
            Encryption::On => 1,
            Encryption::NotSupported => 2,
            Encryption::Required => 3,
        });
        data.push(0); // instance: the right one
        data.push(0); // no MARS
        let mut out = Vec::new();
        let mut offset = 4 * 5 + 1_u16;
        for (token, length) in [(0_u8, 6_u16), (1, 1), (2, 1), (4, 1)] {
            out.push(token);
            out.extend(offset.to_be_bytes());
            out.extend(length.to_be_bytes());
            offset += length;
        }
        out.push(0xff);
        out.extend(data);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_back() {
        let bytes = Prelogin::answer("15.0.4385.2", Encryption::Required);
        assert_eq!(Prelogin::parse(&bytes).unwrap().encryption, Encryption::Required);
    }
}
