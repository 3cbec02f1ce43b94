//! Why a console's connection ends: the closed list of contract, section 5.

/// A WebSocket close code that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1001: the server is stopping.
    Draining,
    /// 1003: a binary frame came.
    BinaryFrame,
    /// 1008: the console broke a rule, for example sent too much.
    Policy,
    /// 1009: a message over 64 KiB came.
    TooBig,
    /// 1013: as many consoles as may be are connected.
    TooManyConsoles,
    /// 4401: no or a wrong credential, or an ingest key.
    NotSignedIn,
    /// 4403: the right was withdrawn, for example by signing out.
    RightWithdrawn,
    /// 4008: too slow, or two pings unanswered.
    TooSlow,
}

impl CloseCode {
    /// Every code, in the order of the contract.
    pub const ALL: [Self; 8] = [
        Self::Draining,
        Self::BinaryFrame,
        Self::Policy,
        Self::TooBig,
        Self::TooManyConsoles,
        Self::NotSignedIn,
        Self::RightWithdrawn,
        Self::TooSlow,
    ];

    /// The number on the wire.
    pub const fn code(self) -> u16 {
        match self {
            Self::Draining => 1001,
            Self::BinaryFrame => 1003,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::TooManyConsoles => 1013,
            Self::NotSignedIn => 4401,
            Self::RightWithdrawn => 4403,
            Self::TooSlow => 4008,
        }
    }

    /// The number as text, for a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "1001",
            Self::BinaryFrame => "1003",
            Self::Policy => "1008",
            Self::TooBig => "1009",
            Self::TooManyConsoles => "1013",
            Self::NotSignedIn => "4401",
            Self::RightWithdrawn => "4403",
            Self::TooSlow => "4008",
        }
    }

    /// For a person to read; under 123 bytes (RFC 6455, 5.5).
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Draining => "the server is stopping",
            Self::BinaryFrame => "only text frames are understood",
            Self::Policy => "too many or broken messages",
            Self::TooBig => "a message may have at most 64 KiB",
            Self::TooManyConsoles => "too many consoles are connected",
            Self::NotSignedIn => "not signed in",
            Self::RightWithdrawn => "signed out",
            Self::TooSlow => "too slow",
        }
    }

    /// Whether the console should stay away: to come back would end the same way.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Policy | Self::NotSignedIn | Self::RightWithdrawn => true,
            Self::Draining
            | Self::BinaryFrame
            | Self::TooBig
            | Self::TooManyConsoles
            | Self::TooSlow => false,
        }
    }

    /// Whether what waits is still delivered before it.
    pub(super) const fn delivers_the_rest(self) -> bool {
        matches!(self, Self::Draining)
    }
}
