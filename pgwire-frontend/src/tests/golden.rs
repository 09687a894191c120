//! Runs every script in `scripts/`.

use std::fs;
use std::path::Path;

use super::script::Conversation;

#[tokio::test]
async fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/scripts");
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut ran = 0;
    for entry in fs::read_dir(folder).expect("the folder of scripts") {
        let path = entry.expect("a script").path();
        let script = fs::read_to_string(&path).expect("a readable script");
        let result = Conversation::new().run(&script).await;
        if update {
            fs::write(&path, result).expect("a writable script");
        } else {
            assert!(result == script, "{}: the server said\n{result}", path.display());
        }
        ran += 1;
    }
    assert!(ran > 0, "no scripts");
}
