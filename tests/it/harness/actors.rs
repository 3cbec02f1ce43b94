//! The tree of actors as the server tells it, and what can be awaited by it.

use serde_json::Value;

use super::{Api, PATIENCE, ensure, eventually};

/// Everyone who reads the journal.
const CONSUMERS: [&str; 3] = ["router", "records", "series"];

impl Api {
    /// Every actor that the tree shows; of sessions and subscribers those are the worst ten.
    pub async fn actors(&self) -> Vec<Value> {
        let mut actors = vec![self.get("/api/v1/health/actors").await.good()];
        let mut nth = 0;
        while let Some(actor) = actors.get_mut(nth) {
            let Some(Value::Array(children)) = actor.get_mut("children").map(Value::take) else {
                panic!("no children: {actor}");
            };
            actors.extend(children);
            nth += 1;
        }
        actors
    }

    /// An actor, if the tree shows it.
    pub async fn actor(&self, name: &str) -> Option<Value> {
        let mut actors = self.actors().await;
        let nth = actors.iter().position(|actor| actor["name"] == name)?;
        Some(actors.swap_remove(nth))
    }

    /// Waits for so many rounds of housekeeping (one a second), and until everyone has taken in
    /// what those wrote: whoever takes an absence for silence has said so by the third.
    pub async fn after_housekeeping(&self, rounds: u64) {
        let done = async || {
            let housekeeping = self.actor("housekeeping").await;
            housekeeping.map_or(0, |actor| actor["processed"].as_u64().unwrap())
        };
        let enough = done().await + rounds;
        eventually("rounds of housekeeping", PATIENCE, async || {
            let done = done().await;
            ensure(done >= enough, || format!("{done} of {enough}"))
        })
        .await;
        eventually("everyone has read the journal", PATIENCE, async || {
            for consumer in CONSUMERS {
                // one that has just started does not know it yet
                let actor = self.actor(consumer).await.unwrap_or_default();
                ensure(actor["lagEvents"] == 0, || actor.to_string())?;
            }
            Ok::<_, String>(())
        })
        .await;
    }
}
