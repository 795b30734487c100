//! What authorities can be told to do wrong.
//!
//! The names only; `consensus` and `microdesc` do it. Called by them, by whoever builds a
//! network, and by the tests of a client. Spec: none.

/// One thing that authorities do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misbehaviour {
    /// Half of them sign, which is not enough.
    TooFewSignatures,
    /// All of them sign another document.
    WrongSignatures,
    /// The consensus ran out days ago.
    Expired,
    /// The consensus will be good in some days.
    FromTheFuture,
    /// The consensus names microdescriptors that nobody has.
    WrongDigests,
    /// Lines, flags and parameters that nobody knows. No fault: a client ignores them.
    UnknownKeywords,
    /// Lists as long as a line may be: parameters in the consensus, families in all
    /// microdescriptors. No fault either.
    GiantLists,
}

impl Misbehaviour {
    /// All there are.
    pub const ALL: [Misbehaviour; 7] = [
        Misbehaviour::TooFewSignatures,
        Misbehaviour::WrongSignatures,
        Misbehaviour::Expired,
        Misbehaviour::FromTheFuture,
        Misbehaviour::WrongDigests,
        Misbehaviour::UnknownKeywords,
        Misbehaviour::GiantLists,
    ];

    /// As it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Misbehaviour::TooFewSignatures => "too-few-signatures",
            Misbehaviour::WrongSignatures => "wrong-signatures",
            Misbehaviour::Expired => "expired",
            Misbehaviour::FromTheFuture => "from-the-future",
            Misbehaviour::WrongDigests => "wrong-digests",
            Misbehaviour::UnknownKeywords => "unknown-keywords",
            Misbehaviour::GiantLists => "giant-lists",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Misbehaviour> {
        Misbehaviour::ALL.into_iter().find(|misbehaviour| misbehaviour.name() == name)
    }
}

/// Relays in a giant family, of 42 bytes each: the line stays below the 128 KiB that C tor and
/// we read.
pub(super) const GIANT_FAMILY: usize = 3000;
/// Giant parameters. C tor: takes 512 arguments there.
pub(super) const GIANT_PARAMS: usize = 460;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_misbehaviour_has_a_name() {
        for misbehaviour in Misbehaviour::ALL {
            assert_eq!(Misbehaviour::from_name(misbehaviour.name()), Some(misbehaviour));
        }
        assert_eq!(Misbehaviour::from_name("nice"), None);
    }
}
