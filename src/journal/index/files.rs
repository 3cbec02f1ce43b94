//! The files of the index as a start finds them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::run::Run;
use super::{FILTERS_BYTES, IndexError, condemned, gauge, mark};

/// The runs of a directory, newest first, and why something may be lacking;
/// what never became a run is removed, and a damaged one set aside.
pub(super) fn open_runs(root: &Path) -> Result<(Vec<Arc<Run>>, Option<String>), IndexError> {
    let mut lacks = condemned(root)
        .exists()
        .then(|| "it was damaged when it was used last".to_owned());
    let looks_at_all = lacks.is_some();
    let mut paths = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let number = stem.and_then(|digits| digits.parse::<u64>().ok());
        match (path.extension().and_then(|kind| kind.to_str()), number) {
            (Some("run"), Some(number)) => paths.push((number, path)),
            (Some("tmp"), Some(_)) => fs::remove_file(&path)?,
            _ => {}
        }
    }
    paths.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let mut runs: Vec<Arc<Run>> = Vec::with_capacity(paths.len());
    for (number, path) in paths {
        let opened = Run::open(path.clone(), number, filters_may_take(&runs));
        let whole = opened.and_then(|run| {
            if looks_at_all {
                run.check()?;
            }
            Ok(run)
        });
        match whole {
            Ok(run) => runs.push(Arc::new(run)),
            // a run that was opened and cannot be read is met by a start that looks at all
            Err(error) if error.is_damage() => {
                tracing::error!(
                    error = %error,
                    journal.index.run = number,
                    "a run of the index is damaged: it is set aside, and the journal read again"
                );
                // first the note: a start that is cut short must be followed by one that reads as much
                mark(root)?;
                fs::rename(&path, path.with_extension("damaged"))?;
                lacks = Some(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    gauge(&runs);
    Ok((runs, lacks))
}

/// Bytes of memory that the filter of one more run may take.
pub(super) fn filters_may_take(runs: &[Arc<Run>]) -> u64 {
    FILTERS_BYTES.saturating_sub(runs.iter().map(|run| run.filter_bytes()).sum())
}
