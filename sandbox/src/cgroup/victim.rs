//! Which process the kernel killed when the memory of a group ran out: only its log says so.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The longest record of the kernel's log.
const RECORD: usize = 8192;

/// Returns the name of the last process that was killed because the memory of a group ran out; `None` where the log
/// does not say, or may not be read.
pub fn victim(group: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = rustix::fs::open("/dev/kmsg", flags, Mode::empty()).ok()?;
    let mut record = [0; RECORD];
    let mut last = None;
    loop {
        match rustix::io::read(&log, &mut record[..]) {
            Ok(0) => return last,
            Ok(length) => {
                let text = String::from_utf8_lossy(&record[..length]);
                last = victim_of(&text, group).map(str::to_owned).or(last);
            }
            // A record that was overwritten before it was read.
            Err(Errno::PIPE | Errno::INTR) => {}
            Err(_) => return last,
        }
    }
}

/// Reads one record: `6,1,2,-;oom-kill:constraint=...,oom_memcg=/a/b,task_memcg=/a/b,task=NAME,pid=1,uid=0`.
fn victim_of<'a>(record: &'a str, group: &str) -> Option<&'a str> {
    let (_, message) = record.split_once(';')?;
    let fields = message.strip_prefix("oom-kill:")?.lines().next()?;
    let (_, from_group) = fields.split_once("oom_memcg=")?;
    let (path, _) = from_group.split_once(',')?;
    // A name may hold a comma.
    let (_, name) = from_group.split_once(",task=")?;
    let (name, _) = name.rsplit_once(",pid=")?;
    path.split('/').any(|part| part == group).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_the_group_and_the_process() {
        let record = "6,74073,13974585387,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=a,\
                      mems_allowed=0,oom_memcg=/rbuild-x/abc,task_memcg=/rbuild-x/abc/inner,task=a,b,pid=17,uid=0\n";
        assert_eq!(victim_of(record, "abc"), Some("a,b"));
        assert_eq!(victim_of(record, "inner"), None, "it is the group above whose memory ran out");
        assert_eq!(victim_of(record, "ab"), None);
        assert_eq!(victim_of("6,1,2,-;Memory cgroup out of memory: Killed process 17 (a)", "abc"), None);
    }
}
