//! `mimamori journal inspect`.

use std::io::{Write, stdout};

use super::arguments::Inspect;
use super::{Failure, load_config};
use crate::journal::inspect;

pub(super) fn inspect(arguments: &Inspect) -> Result<(), Failure> {
    let dir = match &arguments.dir {
        Some(dir) => dir.clone(),
        None => {
            let loaded = load_config(arguments.file.config.as_deref())?;
            loaded.config.storage.dir
        }
    };
    // nothing is printed half: the answer is some lines for each segment
    let mut text = Vec::new();
    let found = inspect::inspect(&dir, &mut text).map_err(anyhow::Error::new)?;
    // a reader that went away is no error of ours
    let _ = stdout().lock().write_all(&text);
    match found.damaged {
        0 => Ok(()),
        many => {
            let dir = dir.display();
            Err(anyhow::anyhow!("the journal in {dir} is damaged in {many} places").into())
        }
    }
}
