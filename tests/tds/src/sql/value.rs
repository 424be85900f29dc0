//! Values and their types, with the conversions between them.

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

use crate::SqlError;

/// Data type. A length of `None` is `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ty {
    Null,
    VarBinary(Option<u16>),
    VarChar(Option<u16>),
    NVarChar(Option<u16>),
    Guid,
    Bit,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Float,
    Date,
    DateTime,
    DateTime2(u8),
}

/// Content of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Null,
    Int(i64),
    Float(f64),
    Str(String),
    Bin(Vec<u8>),
    Time(NaiveDateTime),
    Guid([u8; 16]),
}

/// Value with its type; NULL has a type too.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    pub ty: Ty,
    pub data: Data,
}

impl Ty {
    /// Returns the data type precedence: where two types meet, the higher one wins.
    fn rank(self) -> u8 {
        match self {
            Ty::Null => 0,
            Ty::VarBinary(_) => 1,
            Ty::VarChar(_) => 2,
            Ty::NVarChar(_) => 3,
            Ty::Guid => 4,
            Ty::Bit => 5,
            Ty::TinyInt => 6,
            Ty::SmallInt => 7,
            Ty::Int => 8,
            Ty::BigInt => 9,
            Ty::Float => 10,
            Ty::Date => 11,
            Ty::DateTime => 12,
            Ty::DateTime2(_) => 13,
        }
    }

    pub(crate) fn meet(self, other: Ty) -> Ty {
        match (self, other) {
            (Ty::NVarChar(a), Ty::NVarChar(b) | Ty::VarChar(b)) | (Ty::VarChar(a), Ty::NVarChar(b)) => {
                Ty::NVarChar(longer(a, b))
            }
            (Ty::VarChar(a), Ty::VarChar(b)) => Ty::VarChar(longer(a, b)),
            (Ty::VarBinary(a), Ty::VarBinary(b)) => Ty::VarBinary(longer(a, b)),
            (a, b) if a.rank() >= b.rank() => a,
            (_, b) => b,
        }
    }

    pub(crate) fn is_string(self) -> bool {
        matches!(self, Ty::VarChar(_) | Ty::NVarChar(_))
    }

    fn is_integer(self) -> bool {
        matches!(self, Ty::Bit | Ty::TinyInt | Ty::SmallInt | Ty::Int | Ty::BigInt)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Ty::Null | Ty::Int => "int",
            Ty::VarBinary(_) => "varbinary",
            Ty::VarChar(_) => "varchar",
            Ty::NVarChar(_) => "nvarchar",
            Ty::Guid => "uniqueidentifier",
            Ty::Bit => "bit",
            Ty::TinyInt => "tinyint",
            Ty::SmallInt => "smallint",
            Ty::BigInt => "bigint",
            Ty::Float => "float",
            Ty::Date => "date",
            Ty::DateTime => "datetime",
            Ty::DateTime2(_) => "datetime2",
        }
    }
}

fn longer(a: Option<u16>, b: Option<u16>) -> Option<u16> {
    Some(a?.max(b?))
}

impl Value {
    pub(crate) const NULL: Value = Value { ty: Ty::Null, data: Data::Null };

    pub(crate) fn null(ty: Ty) -> Self {
        Self { ty, data: Data::Null }
    }
    pub(crate) fn int(i: i64) -> Self {
        Self { ty: Ty::Int, data: Data::Int(i) }
    }
    pub(crate) fn small(i: i64) -> Self {
        Self { ty: Ty::SmallInt, data: Data::Int(i) }
    }
    pub(crate) fn tiny(i: i64) -> Self {
        Self { ty: Ty::TinyInt, data: Data::Int(i) }
    }
    pub(crate) fn big(i: i64) -> Self {
        Self { ty: Ty::BigInt, data: Data::Int(i) }
    }
    pub(crate) fn bit(b: bool) -> Self {
        Self { ty: Ty::Bit, data: Data::Int(i64::from(b)) }
    }
    /// Makes an nvarchar value of just this length.
    pub(crate) fn text(s: impl Into<String>) -> Self {
        let s = s.into();
        let n = s.encode_utf16().count();
        let ty = if n > 4000 { Ty::NVarChar(None) } else { Ty::NVarChar(Some(n.max(1) as u16)) };
        Self { ty, data: Data::Str(s) }
    }
    /// Makes a `sysname` value.
    pub(crate) fn name(s: impl Into<String>) -> Self {
        Self { ty: Ty::NVarChar(Some(128)), data: Data::Str(s.into()) }
    }
    pub(crate) fn opt_name(s: Option<impl Into<String>>) -> Self {
        s.map_or(Self::null(Ty::NVarChar(Some(128))), Self::name)
    }
    pub(crate) fn bin(b: impl Into<Vec<u8>>) -> Self {
        Self { ty: Ty::VarBinary(Some(8000)), data: Data::Bin(b.into()) }
    }
    pub(crate) fn datetime(t: NaiveDateTime) -> Self {
        Self { ty: Ty::DateTime, data: Data::Time(round_datetime(t)) }
    }
    pub(crate) fn datetime2(t: NaiveDateTime) -> Self {
        Self { ty: Ty::DateTime2(7), data: Data::Time(t) }
    }
    pub(crate) fn is_null(&self) -> bool {
        self.data == Data::Null
    }

    /// Returns the value as an integer, if that is possible.
    pub fn as_int(&self) -> Option<i64> {
        match &self.data {
            Data::Int(i) => Some(*i),
            Data::Float(f) => Some(*f as i64),
            Data::Str(s) if s.trim().is_empty() => Some(0),
            Data::Str(s) => s.trim().parse().ok(),
            Data::Bin(b) => Some(b.iter().fold(0_i64, |n, byte| (n << 8) | i64::from(*byte))),
            _ => None,
        }
    }

    fn as_float(&self) -> Option<f64> {
        match &self.data {
            Data::Int(i) => Some(*i as f64),
            Data::Float(f) => Some(*f),
            Data::Str(s) => s.trim().parse().ok(),
            _ => None,
        }
    }

    /// Returns the value as text; `None` for NULL.
    pub fn as_text(&self) -> Option<String> {
        Some(match &self.data {
            Data::Null => return None,
            Data::Int(i) => i.to_string(),
            Data::Float(f) => f.to_string(),
            Data::Str(s) => s.clone(),
            Data::Bin(b) if matches!(self.ty, Ty::VarBinary(_)) => String::from_utf8_lossy(b).into_owned(),
            Data::Bin(b) => hex(b),
            Data::Time(t) => match self.ty {
                Ty::Date => t.format("%Y-%m-%d").to_string(),
                Ty::DateTime => t.format("%b %e %Y %l:%M%p").to_string(),
                _ => {
                    t.format("%Y-%m-%d %H:%M:%S.").to_string()
                        + &format!("{:07}", t.and_utc().timestamp_subsec_nanos() / 100)
                }
            },
            Data::Guid(g) => guid_text(g),
        })
    }

    /// Converts the value to another type, as CAST does. `style` is that of CONVERT.
    pub(crate) fn cast(&self, ty: Ty, style: i64) -> Result<Value, SqlError> {
        if self.is_null() || ty == Ty::Null {
            return Ok(Value { ty, data: self.data.clone() });
        }
        let fail = || {
            SqlError::new(
                245,
                format!(
                    "Conversion failed when converting the {} value '{}' to data type {}.",
                    self.ty.name(),
                    self.as_text().unwrap_or_default(),
                    ty.name()
                ),
            )
        };
        let data = match ty {
            Ty::Bit => Data::Int(match (&self.data, self.as_int()) {
                (Data::Str(s), _) if s.eq_ignore_ascii_case("true") => 1,
                (Data::Str(s), _) if s.eq_ignore_ascii_case("false") => 0,
                (_, Some(i)) => i64::from(i != 0),
                _ => return Err(fail()),
            }),
            Ty::TinyInt | Ty::SmallInt | Ty::Int | Ty::BigInt => {
                let i = self.as_int().ok_or_else(fail)?;
                let (low, high) = match ty {
                    Ty::TinyInt => (0, 255),
                    Ty::SmallInt => (i64::from(i16::MIN), i64::from(i16::MAX)),
                    Ty::Int => (i64::from(i32::MIN), i64::from(i32::MAX)),
                    _ => (i64::MIN, i64::MAX),
                };
                if i < low || i > high {
                    return Err(SqlError::new(
                        8115,
                        format!("Arithmetic overflow error converting expression to data type {}.", ty.name()),
                    ));
                }
                Data::Int(i)
            }
            Ty::Float => Data::Float(self.as_float().ok_or_else(fail)?),
            Ty::VarChar(n) | Ty::NVarChar(n) => {
                let text = match (&self.data, style) {
                    (Data::Bin(b), 1) => format!("0x{}", hex(b)),
                    (Data::Bin(b), 2) => hex(b),
                    (Data::Bin(b), _) if matches!(ty, Ty::NVarChar(_)) => {
                        let units: Vec<u16> =
                            b.chunks(2).map(|c| u16::from_le_bytes([c[0], c.get(1).copied().unwrap_or(0)])).collect();
                        String::from_utf16_lossy(&units)
                    }
                    (Data::Bin(b), _) => b.iter().map(|b| char::from(*b)).collect(),
                    (Data::Time(t), 126 | 127) => {
                        let z = if style == 127 { "Z" } else { "" };
                        let fraction = if self.ty == Ty::DateTime {
                            "%.3f".to_owned()
                        } else {
                            format!(".{:07}", t.and_utc().timestamp_subsec_nanos() / 100)
                        };
                        t.format(&format!("%Y-%m-%dT%H:%M:%S{fraction}{z}")).to_string()
                    }
                    (Data::Time(t), 121 | 21) if self.ty == Ty::DateTime => {
                        t.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
                    }
                    (Data::Time(t), 120 | 20) => t.format("%Y-%m-%d %H:%M:%S").to_string(),
                    (Data::Time(t), 112) => t.format("%Y%m%d").to_string(),
                    _ => self.as_text().unwrap_or_default(),
                };
                Data::Str(match n {
                    Some(n) => truncate(&text, n as usize),
                    None => text,
                })
            }
            Ty::VarBinary(n) => {
                let mut bytes = match &self.data {
                    Data::Bin(b) => b.clone(),
                    Data::Str(s) if style == 1 || style == 2 => {
                        unhex(if style == 1 { s.strip_prefix("0x").unwrap_or(s) } else { s })
                            .ok_or_else(|| SqlError::new(8114, "Error converting data type varchar to varbinary."))?
                    }
                    Data::Str(s) if matches!(self.ty, Ty::NVarChar(_)) => {
                        s.encode_utf16().flat_map(u16::to_le_bytes).collect()
                    }
                    Data::Str(s) => s.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect(),
                    Data::Int(i) => match self.ty {
                        Ty::BigInt => i.to_be_bytes().to_vec(),
                        Ty::SmallInt => (*i as i16).to_be_bytes().to_vec(),
                        Ty::TinyInt | Ty::Bit => vec![*i as u8],
                        _ => (*i as i32).to_be_bytes().to_vec(),
                    },
                    Data::Guid(g) => g.to_vec(),
                    _ => return Err(fail()),
                };
                if let Some(n) = n {
                    bytes.truncate(n as usize);
                }
                Data::Bin(bytes)
            }
            Ty::Date | Ty::DateTime | Ty::DateTime2(_) => {
                let t = match &self.data {
                    Data::Time(t) => *t,
                    Data::Str(s) => parse_time(s).ok_or_else(|| {
                        SqlError::new(241, "Conversion failed when converting date and/or time from character string.")
                    })?,
                    Data::Int(i) => base().checked_add_signed(chrono::Duration::days(*i)).ok_or_else(fail)?,
                    _ => return Err(fail()),
                };
                Data::Time(match ty {
                    Ty::Date => t.date().and_time(NaiveTime::MIN),
                    Ty::DateTime => round_datetime(t),
                    Ty::DateTime2(scale) => round_scale(t, scale),
                    _ => t,
                })
            }
            Ty::Guid => match &self.data {
                Data::Guid(g) => Data::Guid(*g),
                Data::Bin(b) if b.len() >= 16 => Data::Guid(b[..16].try_into().unwrap_or_default()),
                Data::Str(s) => Data::Guid(parse_guid(s).ok_or_else(|| {
                    SqlError::new(
                        8169,
                        "Conversion failed when converting from a character string to uniqueidentifier.",
                    )
                })?),
                _ => return Err(fail()),
            },
            Ty::Null => Data::Null,
        };
        Ok(Value { ty, data })
    }

    /// Compares as the engine does: by the higher type. Strings compare without case and trailing
    /// blanks unless `binary`.
    pub(crate) fn compare(&self, other: &Value, binary: bool) -> Result<Option<Ordering>, SqlError> {
        if self.is_null() || other.is_null() {
            return Ok(None);
        }
        let ty = self.ty.meet(other.ty);
        let widened = match ty {
            Ty::NVarChar(_) => Ty::NVarChar(None),
            Ty::VarChar(_) => Ty::VarChar(None),
            Ty::VarBinary(_) => Ty::VarBinary(None),
            t if t.is_integer() => Ty::BigInt,
            t => t,
        };
        let (a, b) = (self.cast(widened, 0)?, other.cast(widened, 0)?);
        Ok(match (&a.data, &b.data) {
            (Data::Int(a), Data::Int(b)) => Some(a.cmp(b)),
            (Data::Float(a), Data::Float(b)) => a.partial_cmp(b),
            (Data::Str(a), Data::Str(b)) if binary => Some(a.trim_end_matches(' ').cmp(b.trim_end_matches(' '))),
            (Data::Str(a), Data::Str(b)) => Some(fold(a).cmp(&fold(b))),
            (Data::Bin(a), Data::Bin(b)) => Some(a.cmp(b)),
            (Data::Time(a), Data::Time(b)) => Some(a.cmp(b)),
            (Data::Guid(a), Data::Guid(b)) => Some(a.cmp(b)),
            _ => None,
        })
    }
}

/// Folds text as the default collation does: case and trailing blanks do not count.
pub(crate) fn fold(s: &str) -> String {
    s.trim_end_matches(' ').to_lowercase()
}

fn truncate(s: &str, units: usize) -> String {
    let all: Vec<u16> = s.encode_utf16().collect();
    if all.len() <= units { s.to_owned() } else { String::from_utf16_lossy(&all[..units]) }
}

fn base() -> NaiveDateTime {
    NaiveDate::from_ymd_opt(1900, 1, 1).unwrap_or_default().and_time(NaiveTime::MIN)
}

/// Rounds to the steps of `datetime`, which are 1/300 second.
fn round_datetime(t: NaiveDateTime) -> NaiveDateTime {
    let micros = t.and_utc().timestamp_micros();
    let ticks = (micros * 3 + 5_000).div_euclid(10_000);
    // shown in whole milliseconds: .000, .003, .007
    let millis = (ticks * 10 + 1).div_euclid(3);
    DateTime::from_timestamp_millis(millis).map_or(t, |t| t.naive_utc())
}

fn round_scale(t: NaiveDateTime, scale: u8) -> NaiveDateTime {
    let unit = 10_i64.pow(u32::from(9_u8.saturating_sub(scale)));
    let nanos = i64::from(t.and_utc().timestamp_subsec_nanos());
    let rounded = (nanos + unit / 2).div_euclid(unit) * unit;
    t.checked_add_signed(chrono::Duration::nanoseconds(rounded - nanos)).unwrap_or(t)
}

pub(crate) fn parse_time(s: &str) -> Option<NaiveDateTime> {
    let s = s.trim().trim_end_matches('Z');
    for format in
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y%m%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]
    {
        if let Ok(t) = NaiveDateTime::parse_from_str(s, format) {
            return Some(t);
        }
    }
    ["%Y-%m-%d", "%Y%m%d"].iter().find_map(|f| NaiveDate::parse_from_str(s, f).ok()).map(|d| d.and_time(NaiveTime::MIN))
}

pub(crate) fn hex(b: &[u8]) -> String {
    b.iter().map(|b| format!("{b:02X}")).collect()
}

pub(crate) fn unhex(s: &str) -> Option<Vec<u8>> {
    if !s.is_ascii() {
        return None;
    }
    let s = if s.len() % 2 == 1 { format!("0{s}") } else { s.to_owned() };
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).ok()).collect()
}

/// Writes a GUID as text. Its first three fields are little-endian.
fn guid_text(g: &[u8; 16]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let h = hex(&order.map(|i: usize| g[i]));
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

fn parse_guid(s: &str) -> Option<[u8; 16]> {
    let plain: String = s.trim().trim_matches(['{', '}']).chars().filter(|c| *c != '-').collect();
    let b: [u8; 16] = unhex(&plain)?.try_into().ok()?;
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    Some(order.map(|i: usize| b[i]))
}

/// Makes a different GUID at each call.
pub(crate) fn random_guid() -> [u8; 16] {
    use std::hash::{BuildHasher, RandomState};
    let half = || RandomState::new().hash_one(0).to_le_bytes();
    [half(), half()].concat().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datetime_is_rounded_to_three_hundredths() {
        let t = parse_time("2026-01-02 03:04:05.006").unwrap();
        assert_eq!(
            Value::datetime(t).cast(Ty::VarChar(Some(30)), 121).unwrap().as_text().unwrap(),
            "2026-01-02 03:04:05.007"
        );
    }

    #[test]
    fn strings_compare_without_case_and_trailing_blanks() {
        assert_eq!(Value::text("Ab ").compare(&Value::text("aB"), false).unwrap(), Some(Ordering::Equal));
        assert_ne!(Value::text("Ab").compare(&Value::text("aB"), true).unwrap(), Some(Ordering::Equal));
    }
}
