//! The console is embedded from `console/dist`, which a fresh clone does not have.

fn main() {
    // best effort: where the source tree is read-only the program says that it has no console
    let _ = std::fs::create_dir_all("console/dist");
    println!("cargo:rerun-if-changed=console/dist");
}
