//! Ports for servers of tests.

use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};

/// Finds a port of 127.0.0.1 for a server that can be stopped and started again. The system never
/// hands out these ports by itself (`ip_local_port_range` begins at 32768). So no connection and no
/// other listener takes the port while the server is down.
///
/// # Errors
/// When every port is taken.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const PORTS: std::ops::Range<u16> = 20_000..32_000;
    let count = u32::from(PORTS.end - PORTS.start);
    // programs that run at the same time begin at different ports
    let first = std::process::id().wrapping_mul(127) % count;
    let mut ports = (0..count).map(|_| {
        let next = (first + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % count;
        PORTS.start + u16::try_from(next).unwrap_or_default()
    });
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).context("no port is free")
}
