//! Whose word it is that there is no newer consensus.
//!
//! Says when that is to be believed; not what follows. Called by `bootstrap.rs`. Spec: none.
//! C tor: believes each, as a failure of that directory, and asks the next by its schedule.

use crate::base::RsaId;

/// So many words of one directory, where there is no other, are as good as those of two; ours.
const MOST_WORDS: u32 = 3;

/// What was said since it was last believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Late {
    said: Option<RsaId>,
    words: u32,
}

impl Late {
    /// One has nothing newer. True if that is to be believed, and counted from anew.
    pub(super) fn agree(&mut self, server: RsaId) -> bool {
        self.words += 1;
        let is_so = self.said.is_some_and(|before| before != server) || self.words >= MOST_WORDS;
        *self = if is_so { Late::default() } else { Late { said: Some(server), words: self.words } };
        is_so
    }

    /// Who said so, whom nobody has confirmed.
    pub(super) fn who(&self) -> Option<RsaId> {
        self.said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_believed_and_one_who_says_it_often() {
        let [a, b] = [1, 2].map(|byte| RsaId([byte; 20]));
        let mut late = Late::default();
        assert!(!late.agree(a) && late.who() == Some(a));
        assert!(late.agree(b) && late.who().is_none());
        assert_eq!([a, a, a, a, b].map(|server| late.agree(server)), [false, false, true, false, true]);
    }
}
