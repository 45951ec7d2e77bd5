//! What the kernel knows about a process (`proc(5)`): processor time and memory.

use std::time::Duration;

use anyhow::Context;

/// The unit of `/proc/PID/stat`: `USER_HZ`, 100 a second on every Linux we meet.
const TICK: Duration = Duration::from_millis(10);
/// Places of the times in `/proc/PID/stat`, counted from the field after the program's name.
const UTIME: usize = 11;
const CUTIME: usize = 13;

/// Processor time a process has used, all its threads together.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    times(&pid.to_string(), UTIME)
}

/// Processor time of a process's children that ended and were waited for.
pub(crate) fn cpu_of_ended_children(pid: u32) -> anyhow::Result<Duration> {
    times(&pid.to_string(), CUTIME)
}

/// The sum of two neighbouring fields: time in user mode and in the kernel.
fn times(pid: &str, first: usize) -> anyhow::Result<Duration> {
    let file = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    // The program's name is in parentheses and may hold anything.
    let (_, fields) = text.rsplit_once(')').context("no program name in /proc/PID/stat")?;
    let ticks = fields
        .split_whitespace()
        .skip(first)
        .take(2)
        .map(str::parse::<u32>)
        .sum::<Result<u32, _>>()
        .context("times in /proc/PID/stat")?;
    Ok(TICK * ticks)
}

/// Memory of a process that is in RAM, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmRSS:")
}

/// The most memory that a process ever had in RAM, in bytes.
pub(crate) fn peak_bytes(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, field: &str) -> anyhow::Result<u64> {
    let file = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("no {field} in {file}"))? * 1024)
}

/// Programs that wanted a processor during the last minute, on average.
pub(crate) fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
