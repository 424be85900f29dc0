//! Types on the wire (2.2.5.4 to 2.2.5.6): TYPE_INFO and values, both ways.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::{Reader, utf16};
use crate::sql::{Data, Ty, Value};

/// Default collation, SQL_Latin1_General_CP1_CI_AS.
const COLLATION: [u8; 5] = [0x09, 0x04, 0xd0, 0x00, 0x34];

/// Writes a TYPE_INFO.
pub(crate) fn put_type(out: &mut Vec<u8>, ty: Ty) {
    let sized = |out: &mut Vec<u8>, id: u8, n: Option<u16>, unit: u16| {
        out.push(id);
        out.extend(n.map_or(0xffff, |n| n.max(1) * unit).to_le_bytes());
    };
    match ty {
        Ty::Bit => out.extend([0x68, 1]),
        Ty::TinyInt => out.extend([0x26, 1]),
        Ty::SmallInt => out.extend([0x26, 2]),
        Ty::Int | Ty::Null => out.extend([0x26, 4]),
        Ty::BigInt => out.extend([0x26, 8]),
        Ty::Float => out.extend([0x6d, 8]),
        Ty::DateTime => out.extend([0x6f, 8]),
        Ty::Date => out.push(0x28),
        Ty::DateTime2(scale) => out.extend([0x2a, scale]),
        Ty::Guid => out.extend([0x24, 16]),
        Ty::NVarChar(n) => {
            sized(out, 0xe7, n, 2);
            out.extend(COLLATION);
        }
        Ty::VarChar(n) => {
            sized(out, 0xa7, n, 1);
            out.extend(COLLATION);
        }
        Ty::VarBinary(n) => sized(out, 0xa5, n, 1),
    }
}

/// Writes a value of a column of this type.
pub(crate) fn put_value(out: &mut Vec<u8>, ty: Ty, value: &Value) {
    let value = value.cast(ty, 0).unwrap_or(Value::null(ty));
    match (&value.data, ty) {
        (Data::Null, Ty::NVarChar(None) | Ty::VarChar(None) | Ty::VarBinary(None)) => out.extend([0xff; 8]),
        (Data::Null, Ty::NVarChar(_) | Ty::VarChar(_) | Ty::VarBinary(_)) => out.extend([0xff; 2]),
        (Data::Null, _) => out.push(0),
        (Data::Int(i), _) => {
            let width = match ty {
                Ty::Bit | Ty::TinyInt => 1,
                Ty::SmallInt => 2,
                Ty::BigInt => 8,
                _ => 4,
            };
            out.push(width as u8);
            out.extend(&i.to_le_bytes()[..width]);
        }
        (Data::Float(f), _) => {
            out.push(8);
            out.extend(f.to_le_bytes());
        }
        (Data::Guid(g), _) => {
            out.push(16);
            out.extend(g);
        }
        (Data::Time(t), _) => put_time(out, ty, *t),
        (Data::Str(s), Ty::VarChar(n)) => {
            let bytes: Vec<u8> = s.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
            put_bytes(out, n.is_none(), &bytes);
        }
        (Data::Str(s), Ty::NVarChar(n)) => {
            let bytes: Vec<u8> = s.encode_utf16().flat_map(u16::to_le_bytes).collect();
            put_bytes(out, n.is_none(), &bytes);
        }
        (Data::Bin(b), Ty::VarBinary(n)) => put_bytes(out, n.is_none(), b),
        _ => out.push(0),
    }
}

/// Writes bytes with a two-byte length, or in chunks if they may have any length.
fn put_bytes(out: &mut Vec<u8>, max: bool, bytes: &[u8]) {
    if !max {
        out.extend((bytes.len() as u16).to_le_bytes());
        out.extend(bytes);
        return;
    }
    out.extend((bytes.len() as u64).to_le_bytes());
    if !bytes.is_empty() {
        out.extend((bytes.len() as u32).to_le_bytes());
        out.extend(bytes);
    }
    out.extend([0; 4]);
}

fn days_since(year: i32, date: NaiveDate) -> i64 {
    date.signed_duration_since(NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or_default()).num_days()
}

fn put_time(out: &mut Vec<u8>, ty: Ty, t: NaiveDateTime) {
    let nanos = u64::from(t.num_seconds_from_midnight()) * 1_000_000_000 + u64::from(t.nanosecond());
    match ty {
        Ty::Date => {
            out.push(3);
            out.extend(&days_since(1, t.date()).to_le_bytes()[..3]);
        }
        Ty::DateTime2(scale) => {
            let ticks = nanos / 10_u64.pow(9 - u32::from(scale.min(7)));
            let width = time_width(scale);
            out.push(width as u8 + 3);
            out.extend(&ticks.to_le_bytes()[..width]);
            out.extend(&days_since(1, t.date()).to_le_bytes()[..3]);
        }
        _ => {
            out.push(8);
            out.extend((days_since(1900, t.date()) as i32).to_le_bytes());
            out.extend((((nanos * 3 + 5_000_000) / 10_000_000) as u32).to_le_bytes());
        }
    }
}

fn time_width(scale: u8) -> usize {
    match scale {
        0..=2 => 3,
        3..=4 => 4,
        _ => 5,
    }
}

/// Reads a TYPE_INFO and the value behind it, as parameters have them.
pub(crate) fn take_param(r: &mut Reader<'_>) -> Option<Value> {
    let id = r.u8()?;
    match id {
        // types of fixed length
        0x1f => Some(Value::NULL),
        0x30 => Some(Value::tiny(r.u8()?.into())),
        0x32 => Some(Value::bit(r.u8()? != 0)),
        0x34 => Some(Value::small(i64::from(r.u16()? as i16))),
        0x38 => Some(Value::int(i64::from(r.u32()? as i32))),
        0x7f => Some(Value::big(r.u64()? as i64)),
        0x3e => Some(Value { ty: Ty::Float, data: Data::Float(f64::from_bits(r.u64()?)) }),
        0x3d => Some(Value::datetime(take_datetime(r.bytes(8)?)?)),
        // types with a length of one byte
        0x26 | 0x68 | 0x24 | 0x6d | 0x6f | 0x28 | 0x2a | 0x2b | 0x6a | 0x6c => {
            let max = if id == 0x28 { 3 } else { r.u8()? };
            let (precision, scale) = if matches!(id, 0x6a | 0x6c) { (r.u8()?, r.u8()?) } else { (0, max) };
            let _ = precision;
            let n = r.u8()?;
            let bytes = r.bytes(n.into())?;
            Some(small(id, max, scale, bytes))
        }
        0xe7 | 0xef | 0xa7 | 0xaf | 0xa5 | 0xad => {
            let max = r.u16()?;
            if !matches!(id, 0xa5 | 0xad) {
                r.bytes(5)?;
            }
            let limit = if max == 0xffff { None } else { Some(max) };
            let bytes = if limit.is_none() { take_parts(r)? } else { take_short(r)? };
            Some(match id {
                0xe7 | 0xef => {
                    let ty = Ty::NVarChar(limit.map(|n| n / 2));
                    bytes.map_or(Value::null(ty), |b| Value { ty, data: Data::Str(utf16(&b)) })
                }
                0xa7 | 0xaf => {
                    let ty = Ty::VarChar(limit);
                    bytes.map_or(Value::null(ty), |b| Value {
                        ty,
                        data: Data::Str(b.iter().map(|b| char::from(*b)).collect()),
                    })
                }
                _ => {
                    let ty = Ty::VarBinary(limit);
                    bytes.map_or(Value::null(ty), |b| Value { ty, data: Data::Bin(b) })
                }
            })
        }
        // text and ntext: older drivers send long strings as these
        0x63 => {
            r.u32()?;
            r.bytes(5)?;
            let n = r.u32()?;
            let ty = Ty::NVarChar(None);
            if n == u32::MAX {
                Some(Value::null(ty))
            } else {
                Some(Value { ty, data: Data::Str(utf16(r.bytes(n as usize)?)) })
            }
        }
        _ => None,
    }
}

fn small(id: u8, max: u8, scale: u8, bytes: &[u8]) -> Value {
    let ty = match (id, max) {
        (0x26, 1) => Ty::TinyInt,
        (0x26, 2) => Ty::SmallInt,
        (0x26, 8) => Ty::BigInt,
        (0x68, _) => Ty::Bit,
        (0x24, _) => Ty::Guid,
        (0x6d | 0x6a | 0x6c, _) => Ty::Float,
        (0x6f, _) => Ty::DateTime,
        (0x28, _) => Ty::Date,
        (0x2a | 0x2b, scale) => Ty::DateTime2(scale),
        _ => Ty::Int,
    };
    if bytes.is_empty() {
        return Value::null(ty);
    }
    let mut wide = [0_u8; 8];
    bytes.iter().take(8).enumerate().for_each(|(i, b)| wide[i] = *b);
    let n = i64::from_le_bytes(wide);
    let data = match (ty, bytes.len()) {
        (Ty::Guid, 16) => Data::Guid(bytes.try_into().unwrap_or_default()),
        (Ty::Float, _) if id != 0x6d => {
            let magnitude = bytes[1..].iter().rev().fold(0_f64, |n, b| n * 256.0 + f64::from(*b));
            Data::Float(magnitude / 10_f64.powi(scale.into()) * if bytes[0] == 0 { -1.0 } else { 1.0 })
        }
        (Ty::Float, 4) => Data::Float(f32::from_bits(n as u32).into()),
        (Ty::Float, _) => Data::Float(f64::from_bits(n as u64)),
        (Ty::DateTime, _) => take_datetime(bytes).map_or(Data::Null, Data::Time),
        (Ty::Date | Ty::DateTime2(_), length) => {
            let width = if ty == Ty::Date { 0 } else { time_width(scale).min(length) };
            let mut part = [0_u8; 8];
            part[..width].copy_from_slice(&bytes[..width]);
            let ticks = u64::from_le_bytes(part);
            let nanos = ticks * 10_u64.pow(9 - u32::from(scale.min(7)));
            let days = bytes[width..].iter().take(3).rev().fold(0_i64, |n, b| n << 8 | i64::from(*b));
            moment(1, days, if width == 0 { 0 } else { nanos }).map_or(Data::Null, Data::Time)
        }
        (Ty::SmallInt, _) => Data::Int((n as i16).into()),
        (Ty::Int, _) => Data::Int((n as i32).into()),
        _ => Data::Int(n),
    };
    Value { ty, data }
}

fn moment(year: i32, days: i64, nanos: u64) -> Option<NaiveDateTime> {
    let date = NaiveDate::from_ymd_opt(year, 1, 1)?.checked_add_signed(chrono::Duration::days(days))?;
    date.and_time(NaiveTime::MIN).checked_add_signed(chrono::Duration::nanoseconds(nanos as i64))
}

fn take_datetime(bytes: &[u8]) -> Option<NaiveDateTime> {
    let mut r = Reader(bytes);
    if bytes.len() == 4 {
        let (days, minutes) = (r.u16()?, r.u16()?);
        return moment(1900, days.into(), u64::from(minutes) * 60_000_000_000);
    }
    let (days, ticks) = (r.u32()? as i32, r.u32()?);
    moment(1900, days.into(), u64::from(ticks) * 10_000_000 / 3)
}

fn take_short(r: &mut Reader<'_>) -> Option<Option<Vec<u8>>> {
    let n = r.u16()?;
    if n == 0xffff { Some(None) } else { Some(Some(r.bytes(n.into())?.to_vec())) }
}

fn take_parts(r: &mut Reader<'_>) -> Option<Option<Vec<u8>>> {
    if r.u64()? == u64::MAX {
        return Some(None);
    }
    let mut out = Vec::new();
    loop {
        let n = r.u32()?;
        if n == 0 {
            return Some(Some(out));
        }
        out.extend_from_slice(r.bytes(n as usize)?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let t = crate::sql::parse_time("2026-11-25 19:31:05.1234567").unwrap();
        let values = [
            Value::int(-5),
            Value::big(1 << 40),
            Value::bit(true),
            Value::text("é漢"),
            Value { ty: Ty::NVarChar(None), data: Data::Str("x".repeat(9000)) },
            Value::bin([1, 2, 3]),
            Value::datetime2(t),
            Value::datetime(t),
            Value { ty: Ty::Guid, data: Data::Guid([7; 16]) },
            Value::null(Ty::SmallInt),
        ];
        for value in values {
            let mut bytes = Vec::new();
            put_type(&mut bytes, value.ty);
            put_value(&mut bytes, value.ty, &value);
            let back = take_param(&mut Reader(&bytes)).unwrap();
            assert_eq!(back.cast(value.ty, 0).unwrap(), value);
        }
    }
}
