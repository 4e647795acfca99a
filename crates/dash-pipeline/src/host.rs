//! Reads what records say about the machine that a stage runs on.

use std::fs;

/// Operating system, its release and the architecture: `Linux 6.1.0 x86_64`.
pub(crate) fn os() -> String {
    let name = rustix::system::uname();
    [name.sysname(), name.release(), name.machine()].map(|part| part.to_string_lossy().into_owned()).join(" ")
}

/// Model name of the CPU as the system reports it, else the architecture.
pub(crate) fn cpu_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Resets the peak that [`peak_memory`] returns to the memory that is resident now. Where the system refuses, the peak
/// remains that of the whole process.
pub(crate) fn reset_peak_memory() {
    use std::io::Write;
    // proc(5): writing 5 to this file resets the peak. It is a virtual file that cannot be left half-written.
    let file = fs::OpenOptions::new().write(true).open("/proc/self/clear_refs");
    if let Ok(mut file) = file {
        let _ = file.write_all(b"5");
    }
}

/// Peak resident memory of this process in bytes since [`reset_peak_memory`].
pub(crate) fn peak_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn linux_reports_what_records_hold() {
        assert!(super::os().starts_with("Linux "));
        assert!(!super::cpu_name().is_empty());
        assert!(super::peak_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
