//! Feeds made-up bytes to the target `mount_value`, or the files that are named.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| rbuild_frontend_fuzz::mount_value(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    rbuild_frontend_fuzz::replay(rbuild_frontend_fuzz::mount_value)
}
