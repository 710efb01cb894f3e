//! What a process has cost so far, as the kernel counts it.

use std::io;

/// CPU seconds, user and system, of all threads that the process has had.
pub fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write only into the two variables above, which outlive them.
    #[allow(unsafe_code)]
    let answers = unsafe { (libc::clock_getcpuclockid(pid, &mut clock), libc::clock_gettime(clock, &mut time)) };
    match answers {
        (0, 0) => Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9),
        (0, _) => Err(io::Error::last_os_error()),
        (code, _) => Err(io::Error::from_raw_os_error(code)),
    }
}

/// The most memory that this process has ever had resident, in MB.
pub fn peak_rss_mb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib = line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0 / 1e6
}

/// CPU seconds that the whole machine has spent on anything.
pub fn machine_busy_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> =
        text.lines().next().unwrap_or_default().split_whitespace().skip(1).flat_map(str::parse).collect();
    // user nice system idle iowait irq softirq steal: all but the two that are no work.
    let ticks: f64 = fields.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, t)| t).sum();
    // The kernel shows hundredths of a second to programs, whatever it counts itself.
    ticks / 100.0
}
