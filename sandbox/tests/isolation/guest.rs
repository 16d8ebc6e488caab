//! What the test program does within a root: things that a shell cannot try.

use std::process::ExitCode;

/// Tries the system calls that it is told to, and prints how each one ends.
pub(crate) fn run(words: &[String]) -> ExitCode {
    for word in words {
        println!("{word}: {}", attempt(word));
    }
    ExitCode::SUCCESS
}

fn attempt(word: &str) -> String {
    // SAFETY: each call has arguments that are valid or that the kernel only refuses; none of them touches memory of
    // this process.
    let result = unsafe {
        match word {
            "unshare-user" => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER),
            "clone3" => libc::syscall(libc::SYS_clone3, 0, 0),
            "mount" => {
                libc::syscall(libc::SYS_mount, c"x".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, 0)
            }
            "fsopen" => libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0),
            "keyctl" => libc::syscall(libc::SYS_keyctl, 0, -3, 0),
            "io-uring" => libc::syscall(libc::SYS_io_uring_setup, 1, 0),
            "socket-alg" => libc::syscall(libc::SYS_socket, 38, libc::SOCK_SEQPACKET, 0),
            "socket-vsock" => libc::syscall(libc::SYS_socket, 40, libc::SOCK_STREAM, 0),
            "socket-inet" => libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
            "too-new" => libc::syscall(5000),
            "x32" => libc::syscall(0x4000_0000 | libc::SYS_getpid),
            "open-by-handle" => libc::syscall(libc::SYS_open_by_handle_at, -1, 0, 0),
            "setns" => libc::syscall(libc::SYS_setns, -1, 0),
            "reboot" => libc::syscall(libc::SYS_reboot, 0, 0, 0, 0),
            "umount-proc" => libc::syscall(libc::SYS_umount2, c"/proc/keys".as_ptr(), 0),
            _ => return "unknown".to_owned(),
        }
    };
    if result >= 0 {
        return "ok".to_owned();
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EPERM) => "EPERM".to_owned(),
        Some(libc::ENOSYS) => "ENOSYS".to_owned(),
        Some(number) => format!("errno {number}"),
        None => "?".to_owned(),
    }
}
