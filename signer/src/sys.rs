//! All that the compiler cannot check: taking over descriptor 3, and keeping the key's page out of swap.
#![expect(unsafe_code, reason = "two system interfaces without a safe form")]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Where systemd, and everybody who starts the signer, puts the listening socket.
const LISTEN_FD: i32 = 3;

/// Takes over descriptor 3. It may be closed: whoever uses it first finds out.
///
/// Returns `None` when called a second time.
pub fn take_listen_fd() -> Option<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return None;
    }
    // SAFETY: fcntl with F_GETFD takes no pointer and is defined for every descriptor number, open or not.
    if unsafe { libc::fcntl(LISTEN_FD, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: `from_raw_fd` wants an open descriptor that nobody else owns. It is open: the line above asked. Nobody else
    // owns it: main calls this before anything else opens a descriptor, so 3 was inherited, and TAKEN lets it happen once.
    Some(unsafe { OwnedFd::from_raw_fd(LISTEN_FD) })
}

/// Keeps the pages of `value` out of swap for as long as the process lives.
///
/// # Errors
/// Where the limit (RLIMIT_MEMLOCK) does not allow it.
pub fn lock_in_memory<T>(value: &T) -> io::Result<()> {
    // SAFETY: mlock reads and writes nothing; it wants an address range that is mapped, and a live reference to a `T` is.
    let answer = unsafe { libc::mlock(std::ptr::from_ref(value).cast(), size_of::<T>()) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
