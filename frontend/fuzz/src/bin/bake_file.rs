//! Feeds made-up bytes to the target `bake_file`, or the files that are named.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| rbuild_frontend_fuzz::bake_file(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    rbuild_frontend_fuzz::replay(rbuild_frontend_fuzz::bake_file)
}
