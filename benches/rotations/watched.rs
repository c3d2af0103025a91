//! A process that is measured: what its log tells, and what the kernel counts of it.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the log has told so far.
#[derive(Default, Clone)]
pub struct Told {
    /// When the first rotation was decided.
    pub first: Option<Instant>,
    /// When the last one was completed.
    pub last: Option<Instant>,
    /// How many were completed.
    pub completed: usize,
    /// What went wrong.
    pub complaints: Vec<String>,
}

/// A running process.
pub struct Watched {
    child: Child,
    told: Arc<Mutex<Told>>,
    pub started: Instant,
}

impl Watched {
    /// Starts it, and reads its log: the times come from the lines that it writes for everybody.
    pub fn start(mut command: Command) -> Self {
        let started = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (log, told) = (child.stderr.take().unwrap(), Arc::<Mutex<Told>>::default());
        let telling = told.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                let mut told = telling.lock().unwrap();
                if line.contains("\"event\":\"intended\"") {
                    told.first.get_or_insert_with(Instant::now);
                } else if line.contains("\"event\":\"completed\"") {
                    (told.last, told.completed) = (Some(Instant::now()), told.completed + 1);
                } else if !line.contains("\"level\":\"INFO\"") {
                    told.complaints.push(line);
                }
            }
        });
        Self { child, told, started }
    }

    pub fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> Duration {
        cpu(&self.child.id().to_string())
    }

    /// CPU time of each of its threads in nanoseconds, as far as it is known (Documentation/scheduler/sched-stats).
    pub fn count(&self, counted: &mut BTreeMap<String, u64>) {
        for (thread, _, ran) in self.threads() {
            counted.insert(thread, ran);
        }
    }

    /// The same by what the threads are called: each library calls its own by one name.
    pub fn by_name(&self) -> BTreeMap<String, Duration> {
        let mut names = BTreeMap::new();
        for (_, name, ran) in self.threads() {
            *names.entry(name).or_default() += Duration::from_nanos(ran);
        }
        names
    }

    fn threads(&self) -> impl Iterator<Item = (String, String, u64)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().flatten();
        // One that has just ended can not be read any more.
        tasks.filter_map(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
            let ran = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            Some((task.path().display().to_string(), name.trim().to_owned(), ran.split(' ').next()?.parse().ok()?))
        })
    }

    /// The most memory that it ever had, in MiB.
    pub fn peak(&self) -> f64 {
        peak(&self.child.id().to_string())
    }

    /// Ends it as an operator would.
    pub fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "it did not end well: {:?}", self.told().complaints);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of all threads of a process, in user mode and in the kernel (proc(5), fields 14 and 15 of `stat`).
pub fn cpu(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // A tick is a hundredth of a second for user space on every Linux (time(7), USER_HZ).
    Duration::from_millis(ticks * 10)
}

/// The most memory that a process ever had, in MiB.
pub fn peak(process: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// What all processors together have been busy with so far, and what they could have been busy with, in ticks (proc(5),
/// `/proc/stat`: the fourth and fifth figure are idle).
pub fn machine() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let figures = stat.lines().next().unwrap().split_whitespace().skip(1).take(8);
    let figures: Vec<u64> = figures.map(|figure| figure.parse().unwrap()).collect();
    let all: u64 = figures.iter().sum();
    (all - figures[3] - figures[4], all)
}
