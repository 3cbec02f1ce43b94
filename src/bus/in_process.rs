//! The bus of a single node: from the classroom straight into the consoles' outboxes.

use std::sync::Arc;

use mimamori_actors::feed::Delta;
use mimamori_actors::hub::Hub;
use mimamori_actors::ports::Bus;

/// Delivers to the consoles of this process.
#[derive(Debug)]
pub struct InProcess {
    hub: Arc<Hub>,
}

impl InProcess {
    /// A bus to the consoles of this hub.
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }
}

impl Bus for InProcess {
    fn publish(&self, delta: &Arc<Delta>) {
        self.hub.deliver(delta);
    }
}
