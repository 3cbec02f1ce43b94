//! Takes identities out of the runs that hold them: those runs are written anew without them.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use super::run::{Run, RunWriter};
use super::{Index, IndexError};

impl Index {
    /// When it returns none of these keys stands in a file. After an error some of them may.
    pub(in super::super) fn forget(&self, keys: &BTreeSet<[u8; 16]>) -> Result<(), IndexError> {
        let _rewriting = self.rewriting();
        while let Some(run) = self.run_with_any(keys)? {
            let (number, path) = self.next_run();
            let mut writer = RunWriter::begin(&path, run.identities)?;
            let mut pairs = run.pairs();
            while let Some(pair) = pairs.next()? {
                if !keys.contains(&pair.0) {
                    writer.add(&pair)?;
                }
            }
            writer.finish(run.day, run.checkpoint.as_ref())?;
            // if it expired meanwhile, the next turn does not find it
            self.replace(&[run], number, path)?;
        }
        self.remove_set_aside()
    }

    /// Damaged runs may hold anybody's, and nobody reads them.
    fn remove_set_aside(&self) -> Result<(), IndexError> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "damaged") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn run_with_any(&self, keys: &BTreeSet<[u8; 16]>) -> Result<Option<Arc<Run>>, IndexError> {
        for run in self.runs().iter() {
            for key in keys {
                if run.find(key)?.is_some() {
                    return Ok(Some(Arc::clone(run)));
                }
            }
        }
        Ok(None)
    }
}
