//! Has the crate built anew when a bundled model changes: `include_dir!` alone does not.

fn main() {
    println!("cargo::rerun-if-changed=bundled");
}
