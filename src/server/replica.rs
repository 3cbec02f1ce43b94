//! The replica of the records, as the tree shows it.

use anyhow::Context as _;
use mimamori_actors::tree::Census;

use crate::config::Config;
use crate::storage::records::{Records, RecordsAt, Unused, replica_of};

/// Has the reading calls read at the replica that the configuration names, if it names one.
/// Whether it is used stands in the tree; that it is away now stops nothing.
pub(super) fn read_at_replica(
    config: &Config,
    records: &Records,
    census: &Census,
) -> anyhow::Result<()> {
    let (RecordsAt::Postgres(primary), Some(replica)) = (RecordsAt::of(config), replica_of(config))
    else {
        return Ok(());
    };
    let part = census.part("records-replica", "replica", Some("root"));
    let tell = move |standing: Result<(), &Unused>| match standing {
        Ok(()) => part.works(),
        // a start takes this long
        Err(Unused::Unseen) => {}
        Err(reason) => part.limps(&reason.to_string()),
    };
    let reading = records.read_at(&replica, &primary, Box::new(tell));
    reading.with_context(|| format!("records.read_url ({}) can't be used", replica.url))
}
