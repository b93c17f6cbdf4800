//! The machine as Linux tells of it: its disks, and `/proc/meminfo`.

use std::io::{self, ErrorKind};
use std::path::Path;

use ports::machine::{Error, Free, Machine};

/// Where the kernel tells of memory.
const MEMORY: &str = "/proc/meminfo";

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxMachine;

impl Machine for LinuxMachine {
    fn free(&self, folder: &Path) -> Result<Free, Error> {
        let failed = |doing: String| move |source: io::Error| Error { doing, source };
        let doing = format!("looking at the disk of {}", folder.display());
        let disk = rustix::fs::statvfs(folder)
            .map_err(io::Error::from)
            .map_err(failed(doing))?;
        let doing = format!("reading {MEMORY}");
        let text = std::fs::read_to_string(MEMORY).map_err(failed(doing.clone()))?;
        let memory = available(&text)
            .ok_or_else(|| ErrorKind::InvalidData.into())
            .map_err(failed(doing))?;
        Ok(Free {
            disk: disk.f_bavail.saturating_mul(disk.f_frsize),
            disk_total: disk.f_blocks.saturating_mul(disk.f_frsize),
            memory,
        })
    }
}

/// Returns what `/proc/meminfo` says is available, in bytes.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|it| it.strip_prefix("MemAvailable:"));
    let number = line?.trim().strip_suffix("kB")?.trim();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes() {
        let text = "MemTotal:       24683556 kB\nMemFree: 1 kB\nMemAvailable:   23814420 kB\n";
        assert_eq!(available(text), Some(23_814_420 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(available("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn this_machine_tells() {
        let free = LinuxMachine.free(Path::new("/")).unwrap();
        assert!(free.disk <= free.disk_total);
        assert!(free.memory > 0);
        let error = LinuxMachine.free(Path::new("/no/such/folder"));
        assert!(error.unwrap_err().to_string().contains("/no/such/folder"));
    }
}
