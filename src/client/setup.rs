//! The configuration as the client needs it: with the lines read that name authorities and
//! fallbacks, which only the directory understands.
//!
//! Reads no file. Called by whoever starts a client, or gives it a new configuration. Spec:
//! none. C tor: `validate_dir_servers` in app/config/config.c.

use super::bootstrap::{self, Asking};
use super::links::Way;
use super::streams::{LEAST_HELD, MAX_HELD};
use super::wishes::UserWishes;
use crate::base::time::Wall;
use crate::config::outward::Language;
use crate::config::values::{Choice, Wanted};
use crate::config::{Complaint, Config, Given, Objection};
use crate::directory::Error;
use crate::directory::authorities::{Authority, Fallback};
use crate::directory::params::{Param, Params};
use crate::link::padding::Mode;
use crate::path::bias;
use crate::path::guards;
use crate::path::rules::Reach;
use crate::path::timeout;

/// The name and version of this program, for files.
pub const PROGRAM: &str = concat!("cepa-", env!("CARGO_PKG_VERSION"));
/// When it was made, about: to be moved on with each version. 21 November 2026.
pub const RELEASED: Wall = Wall::from_secs(1_795_219_200);

/// A configuration that a client can be made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// As the user gave it.
    pub config: Config,
    /// Whether the shell has a place for files, and does what [`super::Client::poll_work`] says.
    /// Without one nothing is kept.
    pub(super) keeps_files: bool,
    /// What all programs together may leave unread and have unsent.
    pub(super) most_held: usize,
    /// Whom to trust and to ask.
    pub(super) directory: bootstrap::Wish,
    /// What the user says of relays.
    pub(super) wishes: UserWishes,
}

impl Setup {
    /// Reads what is left to be read.
    pub fn of(config: Config) -> Result<Setup, Complaint> {
        let lines = &config.directory;
        let mut authorities = read("DirAuthority", &lines.authorities, Authority::parse)?;
        let alternate = read("AlternateDirAuthority", &lines.alternate_authorities, Authority::parse)?;
        let fallbacks = read("FallbackDir", &lines.fallbacks, Fallback::parse)?;
        // C tor: the alternate line names authorities too; bridges' are not ours yet.
        authorities.extend(alternate);
        let uses_default_fallbacks = lines.uses_default_fallbacks;
        let directory =
            bootstrap::Wish { authorities, fallbacks, uses_default_fallbacks, keeps_files: false, released: RELEASED };
        let wishes = UserWishes::of(&config);
        let most_held = config.requests.most_held.map(|held| usize::try_from(held).unwrap_or(usize::MAX));
        let most_held = most_held.map_or(MAX_HELD, |held| held.max(LEAST_HELD));
        Ok(Setup { config, keeps_files: false, most_held, directory, wishes })
    }

    /// The same, of a program that was made then.
    #[must_use]
    pub fn released_on(mut self, released: Wall) -> Setup {
        self.directory.released = released;
        self
    }

    /// The same, of a client whose programs may have that much unread and unsent.
    #[must_use]
    pub fn holding_at_most(self, most_held: usize) -> Setup {
        Setup { most_held, ..self }
    }

    /// The same, of a client whose shell has a place for files.
    #[must_use]
    pub fn with_files(self) -> Setup {
        Setup { keeps_files: true, ..self }
    }

    /// How many guards.
    pub(super) fn guards(&self) -> guards::Wish {
        let wish = &self.config.guards;
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        guards::Wish {
            in_use: number(wish.in_use),
            for_directory: number(wish.for_directory),
            primary: number(wish.primary),
            lifetime: Some(wish.lifetime).filter(|lifetime| !lifetime.is_zero()),
        }
    }

    /// How guards are judged.
    pub(super) fn bias(&self) -> bias::Wish {
        let wish = &self.config.guards.bias;
        let ([min_circuits, min_uses], [scale_circuits, scale_uses]) = (wish.least, wish.scaled);
        let drops = match wish.drops {
            Choice::Auto => None,
            choice => Some(choice == Choice::Yes),
        };
        let (circuits, uses) = (wish.circuits, wish.uses);
        bias::Wish { min_circuits, min_uses, scale_circuits, scale_uses, circuits, uses, drops }
    }

    /// How directories are asked.
    pub(super) fn asking(&self) -> Asking {
        let wish = &self.config.directory;
        Asking {
            reach: self.reach(),
            wishes: self.wishes.clone(),
            max_stall: wish.max_stall,
            max_wait_for_few: wish.max_wait_for_few,
            paths_needed: self.config.circuits.paths_needed,
            authority_rate: wish.authority_rate,
            authority_delay: wish.authority_delay,
            authority_only_delay: wish.authority_only_delay,
            fallback_delay: wish.fallback_delay,
            max_tries: usize::try_from(wish.max_tries).unwrap_or(usize::MAX),
        }
    }

    /// How guards are connected to.
    pub(super) fn reach(&self) -> Reach {
        let links = &self.config.links;
        let does_ipv6 = links.proxy.as_ref().is_none_or(|proxy| proxy.language != Language::Socks4);
        Reach { ipv4: links.ipv4, ipv6: links.ipv6 && does_ipv6, prefers_ipv6: links.prefers_ipv6 == Choice::Yes }
    }

    /// Which way relays are connected to.
    pub(super) fn way(&self) -> Way {
        self.config.links.proxy.clone().map_or(Way::Direct, Way::Proxy)
    }

    /// How long building may take.
    pub(super) fn build_times(&self) -> timeout::Wish {
        let circuits = &self.config.circuits;
        timeout::Wish { initial: circuits.build_timeout, is_fixed: !circuits.learns_timeout }
    }

    /// Whether relays are told the next one's Ed25519 key.
    pub(super) fn extends_by_ed25519(&self, params: Option<&Params>) -> bool {
        match self.config.circuits.extends_by_ed25519 {
            Choice::Auto => params.is_some_and(|params| params.is_on(Param::ExtendByEd25519Id)),
            choice => choice == Choice::Yes,
        }
    }

    /// How links are padded.
    pub(super) fn padding(&self) -> Mode {
        let links = &self.config.links;
        match links.padding {
            Choice::No => Mode::Off,
            _ if links.reduced_padding => Mode::Reduced,
            _ => Mode::Normal,
        }
    }
}

fn read<T>(option: &'static str, lines: &[Given], parse: fn(&str) -> Result<T, Error>) -> Result<Vec<T>, Complaint> {
    let wanted = Wanted::Other(match option {
        "FallbackDir" => "ADDRESS:PORT orport=PORT id=FINGERPRINT, and perhaps ipv6=ADDRESS:PORT",
        _ => "a name, flags, ADDRESS:PORT and a fingerprint",
    });
    let complaint = |line: &Given| {
        let fault = Objection::Value { option, value: line.value.clone(), wanted: wanted.clone() };
        Complaint { origin: line.origin.clone(), fault }
    };
    lines.iter().map(|line| parse(&line.value).map_err(|_| complaint(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn setup(text: &str) -> Result<Setup, Complaint> {
        let mut settings = Settings::new();
        settings.add_text("torrc", text).unwrap();
        Setup::of(Config::of(&settings).unwrap().0)
    }

    #[test]
    fn lines_of_the_directory_are_read_and_bad_ones_named() {
        let text = "DataDirectory /x\nDirAuthority test orport=1 v3ident=14C131DFC5C6F93646BE72FA1401C02A8DF2E8B4 \
                    127.0.0.1:2 0123456789ABCDEF0123456789ABCDEF01234567\n";
        let read = setup(text).unwrap();
        assert_eq!((read.directory.authorities.len(), read.directory.fallbacks.len()), (1, 0));
        for (line, expected) in [
            ("DirAuthority nonsense", "torrc:2: DirAuthority wants a name"),
            ("FallbackDir nonsense", "torrc:2: FallbackDir wants ADDRESS"),
            ("AlternateDirAuthority a b", "torrc:2: AlternateDirAuthority wants a name"),
        ] {
            let complaint = setup(&format!("\n{line}\n")).unwrap_err().to_string();
            assert!(complaint.starts_with(expected), "{complaint}");
        }
    }

    #[test]
    fn padding_is_what_the_user_wants() {
        for (text, expected) in [
            ("", Mode::Normal),
            ("ReducedConnectionPadding 1", Mode::Reduced),
            ("ConnectionPadding 1", Mode::Normal),
            ("ConnectionPadding 0", Mode::Off),
        ] {
            assert_eq!(setup(text).unwrap().padding(), expected, "{text}");
        }
    }

    #[test]
    fn relays_are_told_of_the_next_ones_key_as_the_user_wants() {
        let [off, on] = ["", "ExtendByEd25519ID=1"].map(|text| Params::parse(text.split_whitespace()).unwrap());
        for (text, expected) in
            [("", [false, false, true]), ("ExtendByEd25519ID 0", [false; 3]), ("ExtendByEd25519ID 1", [true; 3])]
        {
            let setup = setup(text).unwrap();
            let said = [None, Some(&off), Some(&on)].map(|params| setup.extends_by_ed25519(params));
            assert_eq!(said, expected, "{text}");
        }
    }
}
