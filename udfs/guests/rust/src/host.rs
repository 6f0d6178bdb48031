//! What the host has for functions.

/// Of a line in the pipeline's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// Writes to the pipeline's log; to standard error, where a function runs outside of it.
pub fn log(level: Level, message: &str) {
    imports::log(level, message);
}

/// A value that the pipeline file has for this module.
pub fn config(name: &str) -> Option<String> {
    imports::config(name)
}

#[cfg(target_family = "wasm")]
mod imports {
    use super::Level;

    #[repr(C)]
    struct OptionalText {
        is_some: u8,
        data: *mut u8,
        length: usize,
    }

    #[link(wasm_import_module = "millstream:udf/host@0.1.0")]
    unsafe extern "C" {
        #[link_name = "log"]
        fn host_log(level: Level, message: *const u8, length: usize);
        #[link_name = "config"]
        fn host_config(name: *const u8, length: usize, found: *mut OptionalText);
    }

    pub fn log(level: Level, message: &str) {
        // SAFETY: the host reads that much, and keeps nothing.
        unsafe { host_log(level, message.as_ptr(), message.len()) }
    }

    pub fn config(name: &str) -> Option<String> {
        let mut found = OptionalText { is_some: 0, data: std::ptr::null_mut(), length: 0 };
        // SAFETY: the host writes the record, and the text to memory of `cabi_realloc`, which is
        // ours from then on.
        unsafe {
            host_config(name.as_ptr(), name.len(), &mut found);
            (found.is_some == 1)
                .then(|| String::from_raw_parts(found.data, found.length, found.length))
        }
    }
}

#[cfg(not(target_family = "wasm"))]
mod imports {
    use super::Level;

    pub fn log(level: Level, message: &str) {
        eprintln!("{level:?}: {message}");
    }

    pub fn config(_: &str) -> Option<String> {
        None
    }
}
