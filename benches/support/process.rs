//! Processor time and memory of a process, from `proc(5)`.

use std::time::Duration;

use anyhow::Context;

/// The unit of `/proc/PID/stat`: `USER_HZ`, 100 per second on every common Linux.
const TICK: Duration = Duration::from_millis(10);
/// Indices of the times in `/proc/PID/stat`, counted from the field after the program's name.
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
    // The program's name is in parentheses and may contain any character.
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

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmRSS:")
}

/// Peak resident memory of a process, in bytes.
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

/// The load average of the last minute.
pub(crate) fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
