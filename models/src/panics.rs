//! Panics turned into reasons. tract panics on some graphs; such a panic ends one request or one load, and says nothing on stderr.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static LOUD_PANIC: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `f`; a panic becomes a reason with the place it came from. A panic inside [`aloud`] goes on instead.
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            if QUIET.get() {
                PLACE.set(info.location().map(|l| format!(" ({}:{})", file_name(l.file()), l.line())).unwrap_or_default());
            } else {
                usual(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    // What `f` leaves half done is dropped with it: callers pass values that they do not use after a panic.
    let result = catch_unwind(AssertUnwindSafe(f));
    QUIET.set(before);
    result.map_err(|payload| {
        if LOUD_PANIC.take() {
            resume_unwind(payload);
        }
        format!("panicked: {}{}", text(&*payload), PLACE.take())
    })
}

/// Runs `f` inside [`caught`] as if outside: its panics are printed and passed on.
pub(crate) fn aloud<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            QUIET.set(self.0);
            LOUD_PANIC.set(self.0 && std::thread::panicking());
        }
    }
    let _restore = Restore(QUIET.replace(false));
    f()
}

fn text(payload: &(dyn Any + Send)) -> &str {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_reason_with_its_place() {
        let reason = caught(|| panic!("no {}", "luck")).unwrap_err();
        assert!(reason.starts_with("panicked: no luck (panics.rs:"), "{reason}");
        assert_eq!(caught(|| 7), Ok(7));
    }

    #[test]
    fn a_panic_aloud_passes_through() {
        let outer = catch_unwind(|| caught(|| aloud(|| resume_unwind(Box::new("mine")))));
        assert_eq!(outer.unwrap_err().downcast_ref::<&str>(), Some(&"mine"));
        assert!(caught(|| panic!("next")).is_err());
    }
}
