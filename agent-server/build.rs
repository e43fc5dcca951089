//! Link arguments of the binary: memory at start.

use std::{env, process::Command};

/// From this version on, glibc reads relative relocations in the packed form (`DT_RELR`).
const PACKED_RELOCATIONS: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |key: &str, value: &str| env::var(key).is_ok_and(|found| found == value);
    // A machine that builds for itself: its linker and its glibc belong together.
    let native = env::var_os("HOST") == env::var_os("TARGET");
    if native
        && is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
        && glibc() >= Some(PACKED_RELOCATIONS)
    {
        // 1.9 MB less in the file, 1.4 MiB less in memory. Linkers that lack the flag ignore it with a warning.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    // The functions that a start runs in one place: 12 MiB less in memory. The list is written by `.ci/start-order`; a function
    // that it lacks stays where it is. Only with rustc's own linker, which reads it in 1.5 s: not every linker can.
    let chosen = env::var_os("RUSTC_LINKER").is_some()
        || env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    if is("TARGET", "x86_64-unknown-linux-gnu") && is("PROFILE", "release") && !chosen {
        let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-T{folder}/start.ld");
    }
}

/// Returns the version of this machine's glibc.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
