//! Consensus parameters: every one that a client reads, with its range and its default.
//!
//! One table, read clamped, so that nobody below or above has a default of its own. What a
//! value means is for whoever uses it; they get it as an argument. Called by `consensus`,
//! which fills it, and by `client`, which hands the values down. Spec: param-spec.
//!
//! C tor: where its default and Arti's differ (congestion control), C tor's is taken, with
//! which the network was tuned.

/// Declares [`Param`] and its table from rows of variant, name, lowest, highest, default.
macro_rules! params {
    ($($variant:ident $name:literal $low:literal..=$high:tt = $default:literal;)+) => {
        /// A parameter, by the name that the specification gives it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Param {
            $(
                #[doc = $name]
                $variant,
            )+
        }

        impl Param {
            /// All of them, each at the index of its value in [`Params`].
            pub const ALL: &[Param] = &[$(Param::$variant),+];

            fn row(self) -> Row {
                match self {
                    $(Param::$variant => Row { name: $name, low: $low, high: $high, default: $default },)+
                }
            }
        }
    };
}

/// What one parameter may be.
struct Row {
    name: &'static str,
    low: i32,
    high: i32,
    default: i32,
}

/// No upper bound but that of the format.
const MAX: i32 = i32::MAX;

params! {
    // Circuits, flow control and congestion control.
    CircWindow "circwindow" 100..=1000 = 1000;
    SendmeAcceptMinVersion "sendme_accept_min_version" 0..=255 = 0;
    SendmeEmitMinVersion "sendme_emit_min_version" 0..=255 = 1;
    CcAlg "cc_alg" 0..=2 = 2;
    CcSendmeInc "cc_sendme_inc" 1..=254 = 31;
    CcCwndInit "cc_cwnd_init" 31..=10_000 = 124;
    CcCwndMin "cc_cwnd_min" 31..=1000 = 124;
    CcCwndMax "cc_cwnd_max" 500..=MAX = 2_147_483_647;
    CcCwndInc "cc_cwnd_inc" 1..=1000 = 1;
    CcCwndIncRate "cc_cwnd_inc_rate" 1..=250 = 31;
    CcCwndIncPctSs "cc_cwnd_inc_pct_ss" 1..=500 = 100;
    CcCwndFullGap "cc_cwnd_full_gap" 0..=32_767 = 4;
    CcCwndFullMinpct "cc_cwnd_full_minpct" 0..=100 = 25;
    CcCwndFullPerCwnd "cc_cwnd_full_per_cwnd" 0..=1 = 1;
    CcSsMax "cc_ss_max" 500..=MAX = 5000;
    CcEwmaCwndPct "cc_ewma_cwnd_pct" 1..=255 = 50;
    CcEwmaMax "cc_ewma_max" 2..=MAX = 10;
    CcEwmaSs "cc_ewma_ss" 2..=MAX = 2;
    CcRttResetPct "cc_rtt_reset_pct" 0..=100 = 100;
    CcVegasAlphaExit "cc_vegas_alpha_exit" 0..=1000 = 186;
    CcVegasBetaExit "cc_vegas_beta_exit" 0..=1000 = 248;
    CcVegasGammaExit "cc_vegas_gamma_exit" 0..=1000 = 186;
    CcVegasDeltaExit "cc_vegas_delta_exit" 0..=MAX = 310;
    CcSscapExit "cc_sscap_exit" 100..=MAX = 600;
    CcVegasAlphaOnion "cc_vegas_alpha_onion" 0..=1000 = 186;
    CcVegasBetaOnion "cc_vegas_beta_onion" 0..=1000 = 372;
    CcVegasGammaOnion "cc_vegas_gamma_onion" 0..=1000 = 248;
    CcVegasDeltaOnion "cc_vegas_delta_onion" 0..=MAX = 434;
    CcSscapOnion "cc_sscap_onion" 100..=MAX = 475;
    CcXoffClient "cc_xoff_client" 1..=10_000 = 500;
    CcXoffExit "cc_xoff_exit" 1..=10_000 = 500;
    CcXonRate "cc_xon_rate" 1..=5000 = 500;
    CcXonChangePct "cc_xon_change_pct" 1..=99 = 25;
    CcXonEwmaCnt "cc_xon_ewma_cnt" 2..=100 = 2;
    CellqLow "cellq_low" 1..=1000 = 10;
    CellqHigh "cellq_high" 1..=1000 = 256;
    OrconnLow "orconn_low" 509..=MAX = 16_384;
    OrconnHigh "orconn_high" 509..=MAX = 32_768;
    CircMaxCellQueueSize "circ_max_cell_queue_size" 50..=MAX = 50_000;
    CircuitPriorityHalflifeMsec "CircuitPriorityHalflifeMsec" 1..=MAX = 30_000;
    DosCircuitCreationEnabled "DoSCircuitCreationEnabled" 0..=1 = 0;
    DosCircuitCreationRate "DoSCircuitCreationRate" 1..=MAX = 3;
    DosCircuitCreationBurst "DoSCircuitCreationBurst" 1..=MAX = 90;
    ExtendByEd25519Id "ExtendByEd25519ID" 0..=1 = 0;

    // Conflux.
    CfxEnabled "cfx_enabled" 0..=1 = 1;
    CfxNumLegsSet "cfx_num_legs_set" 0..=255 = 2;
    CfxMaxLinkedSet "cfx_max_linked_set" 0..=255 = 10;
    CfxMaxPrebuiltSet "cfx_max_prebuilt_set" 0..=255 = 3;
    CfxMaxUnlinkedLegRetry "cfx_max_unlinked_leg_retry" 0..=255 = 3;
    CfxLowExitThreshold "cfx_low_exit_threshold" 0..=10_000 = 6000;
    CfxSendPct "cfx_send_pct" 0..=255 = 100;
    CfxDrainPct "cfx_drain_pct" 0..=255 = 0;
    CfxMaxOooqBytes "cfx_max_oooq_bytes" 0..=MAX = 2_147_483_647;

    // Padding of links and of circuits.
    NfItoLow "nf_ito_low" 0..=60_000 = 1500;
    NfItoHigh "nf_ito_high" 0..=60_000 = 9500;
    NfItoLowReduced "nf_ito_low_reduced" 0..=60_000 = 9000;
    NfItoHighReduced "nf_ito_high_reduced" 0..=60_000 = 14_000;
    NfConntimeoutClients "nf_conntimeout_clients" 60..=86_400 = 1800;
    NfPadBeforeUsage "nf_pad_before_usage" 0..=1 = 1;
    CircpadPaddingDisabled "circpad_padding_disabled" 0..=1 = 0;
    CircpadPaddingReduced "circpad_padding_reduced" 0..=1 = 0;
    CircpadGlobalAllowedCells "circpad_global_allowed_cells" 0..=65_534 = 0;
    CircpadGlobalMaxPaddingPct "circpad_global_max_padding_pct" 0..=100 = 0;
    CircpadMaxCircQueuedCells "circpad_max_circ_queued_cells" 0..=50_000 = 1000;

    // Weights, paths and families.
    BwWeightScale "bwweightscale" 1..=MAX = 10_000;
    MinPathsForCircsPct "min_paths_for_circs_pct" 25..=95 = 60;
    UseFamilyLists "use-family-lists" 0..=1 = 1;
    UseFamilyIds "use-family-ids" 0..=1 = 1;
    TryDiffForConsensusNewerThan "try-diff-for-consensus-newer-than" 0..=8192 = 72;

    // Guards.
    GuardMaxSampleSize "guard-max-sample-size" 1..=MAX = 60;
    GuardMaxSampleThresholdPercent "guard-max-sample-threshold-percent" 1..=100 = 20;
    GuardMinFilteredSampleSize "guard-min-filtered-sample-size" 1..=MAX = 20;
    GuardNPrimaryGuards "guard-n-primary-guards" 1..=MAX = 3;
    GuardNPrimaryGuardsToUse "guard-n-primary-guards-to-use" 1..=MAX = 1;
    GuardNPrimaryDirGuardsToUse "guard-n-primary-dir-guards-to-use" 1..=MAX = 3;
    GuardLifetimeDays "guard-lifetime-days" 1..=3650 = 120;
    GuardConfirmedMinLifetimeDays "guard-confirmed-min-lifetime-days" 1..=3650 = 60;
    GuardRemoveUnlistedAfterDays "guard-remove-unlisted-guards-after-days" 1..=3650 = 20;
    GuardInternetLikelyDownInterval "guard-internet-likely-down-interval" 1..=MAX = 600;
    GuardNonprimaryConnectTimeout "guard-nonprimary-guard-connect-timeout" 1..=MAX = 15;
    GuardNonprimaryIdleTimeout "guard-nonprimary-guard-idle-timeout" 1..=MAX = 600;
    GuardMeaningfulRestrictionPercent "guard-meaningful-restriction-percent" 1..=MAX = 20;
    GuardExtremeRestrictionPercent "guard-extreme-restriction-percent" 1..=100 = 1;

    // Circuit build timeouts.
    CbtDisabled "cbtdisabled" 0..=1 = 0;
    CbtNumModes "cbtnummodes" 1..=20 = 10;
    CbtRecentCount "cbtrecentcount" 3..=1000 = 20;
    CbtMaxTimeouts "cbtmaxtimeouts" 3..=10_000 = 18;
    CbtMinCircs "cbtmincircs" 1..=10_000 = 100;
    CbtQuantile "cbtquantile" 10..=99 = 80;
    CbtCloseQuantile "cbtclosequantile" 10..=99 = 99;
    CbtTestFreq "cbttestfreq" 1..=MAX = 10;
    CbtMinTimeout "cbtmintimeout" 10..=MAX = 10;
    CbtInitialTimeout "cbtinitialtimeout" 10..=MAX = 60_000;
    CbtLearnTimeout "cbtlearntimeout" 10..=60_000 = 180;
    CbtMaxOpenCircs "cbtmaxopencircs" 0..=14 = 10;

    // Path bias.
    PbMinCircs "pb_mincircs" 5..=MAX = 150;
    PbNoticePct "pb_noticepct" 0..=100 = 70;
    PbWarnPct "pb_warnpct" 0..=100 = 50;
    PbExtremePct "pb_extremepct" 0..=100 = 30;
    PbDropGuards "pb_dropguards" 0..=1 = 0;
    PbScaleCircs "pb_scalecircs" 10..=MAX = 300;
    PbScaleFactor "pb_scalefactor" 2..=MAX = 2;
    PbMultFactor "pb_multfactor" 1..=MAX = 1;
    PbMinUse "pb_minuse" 3..=MAX = 20;
    PbNoticeUsePct "pb_noticeusepct" 0..=100 = 80;
    PbExtremeUsePct "pb_extremeusepct" 0..=100 = 60;
    PbScaleUse "pb_scaleuse" 10..=MAX = 100;

    // Onion services.
    HsdirInterval "hsdir_interval" 5..=14_400 = 1440;
    HsdirNReplicas "hsdir_n_replicas" 1..=16 = 2;
    HsdirSpreadFetch "hsdir_spread_fetch" 1..=128 = 3;
    HsdirSpreadStore "hsdir_spread_store" 1..=128 = 4;
    HsV3MaxDescriptorSize "HSV3MaxDescriptorSize" 1..=MAX = 50_000;
    HsServiceMaxRdvFailures "hs_service_max_rdv_failures" 1..=10 = 2;
    HsIntroMinIntroduce2 "hs_intro_min_introduce2" 0..=MAX = 16_384;
    HsIntroMaxIntroduce2 "hs_intro_max_introduce2" 0..=MAX = 32_768;
    HsIntroMinLifetime "hs_intro_min_lifetime" 0..=MAX = 64_800;
    HsIntroMaxLifetime "hs_intro_max_lifetime" 0..=MAX = 86_400;
    HsIntroNumExtra "hs_intro_num_extra" 0..=128 = 2;
    HsIntroDosDefense "HiddenServiceEnableIntroDoSDefense" 0..=1 = 0;
    HsIntroDosRatePerSec "HiddenServiceEnableIntroDoSRatePerSec" 0..=MAX = 25;
    HsIntroDosBurstPerSec "HiddenServiceEnableIntroDoSBurstPerSec" 0..=MAX = 200;
    HsPowMaxEffort "HiddenServiceProofOfWorkV1MaxEffort" 0..=MAX = 10_000;
    HsPowServiceIntroTimeout "HiddenServiceProofOfWorkV1ServiceIntroTimeoutSeconds" 1..=MAX = 300;
    HsPowDefaultDecay "HiddenServiceProofOfWorkV1ServiceDefaultDecayAdjustment" 0..=99 = 0;
    VanguardsLiteEnabled "vanguards-lite-enabled" 0..=1 = 1;
    VanguardsEnabled "vanguards-enabled" 0..=2 = 1;
    VanguardsHsService "vanguards-hs-service" 0..=2 = 2;
    GuardHsL2Number "guard-hs-l2-number" 1..=19 = 4;
    GuardHsL2LifetimeMin "guard-hs-l2-lifetime-min" 1..=MAX = 86_400;
    GuardHsL2LifetimeMax "guard-hs-l2-lifetime-max" 1..=MAX = 1_036_800;
    GuardHsL3Number "guard-hs-l3-number" 1..=MAX = 8;
    GuardHsL3LifetimeMin "guard-hs-l3-lifetime-min" 1..=MAX = 3600;
    GuardHsL3LifetimeMax "guard-hs-l3-lifetime-max" 1..=MAX = 172_800;
}

impl Param {
    /// The name in documents.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The parameter of that name.
    pub fn from_name(name: &str) -> Option<Param> {
        Param::ALL.iter().copied().find(|param| param.name() == name)
    }

    /// What it is when no consensus says otherwise.
    pub fn default_value(self) -> i32 {
        self.row().default
    }

    /// `value`, or the end of the range that is nearest to it.
    fn clamp(self, value: i32) -> i32 {
        let row = self.row();
        value.clamp(row.low, row.high)
    }
}

/// A value for every parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params([i32; Param::ALL.len()]);

impl Default for Params {
    fn default() -> Self {
        Params(core::array::from_fn(|at| Param::ALL.get(at).map_or(0, |param| param.default_value())))
    }
}

impl Params {
    /// The value of `param`, which is within its range.
    pub fn get(&self, param: Param) -> i32 {
        self.0.get(param as usize).copied().unwrap_or_else(|| param.default_value())
    }

    /// The same, of one whose range has no negative numbers.
    pub fn unsigned(&self, param: Param) -> u32 {
        u32::try_from(self.get(param)).unwrap_or(0)
    }

    /// Whether a parameter of 0 and 1 is 1.
    pub fn is_on(&self, param: Param) -> bool {
        self.get(param) != 0
    }

    /// Sets what a document, or the user, says of a parameter; those that nobody knows are
    /// passed over.
    pub fn set(&mut self, name: &str, value: i32) {
        if let Some(param) = Param::from_name(name)
            && let Some(slot) = self.0.get_mut(param as usize)
        {
            *slot = param.clamp(value);
        }
    }

    /// Reads the arguments of a `params` line; `None` if one has not the form `name=number`.
    pub fn parse<'a>(args: impl Iterator<Item = &'a str>) -> Option<Params> {
        let mut params = Params::default();
        for (name, value) in args.map(parse_pair) {
            params.set(name, value?);
        }
        Some(params)
    }
}

/// Cuts `name=number`; no number if it is none of 32 bits.
pub fn parse_pair(arg: &str) -> (&str, Option<i32>) {
    let (name, value) = arg.split_once('=').unwrap_or((arg, ""));
    // C tor takes no plus sign.
    (name, value.parse().ok().filter(|_| !value.starts_with('+')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_in_its_range_and_every_name_is_said_once() {
        for (at, &param) in Param::ALL.iter().enumerate() {
            let row = param.row();
            assert!((row.low..=row.high).contains(&row.default), "{param:?}");
            assert_eq!(Param::from_name(row.name), Some(param), "{}", row.name);
            assert_eq!(param as usize, at);
            assert_eq!(Params::default().get(param), row.default);
        }
    }

    #[test]
    fn values_are_read_clamped() {
        let line = "circwindow=5 cc_alg=9 nobody-knows-me=-7 cbtquantile=50 hsdir_interval=2147483647";
        let params = Params::parse(line.split(' ')).unwrap();
        assert_eq!(params.get(Param::CircWindow), 100);
        assert_eq!(params.get(Param::CcAlg), 2);
        assert_eq!(params.get(Param::CbtQuantile), 50);
        assert_eq!(params.unsigned(Param::HsdirInterval), 14_400);
        assert!(params.is_on(Param::CfxEnabled));
    }

    #[test]
    fn what_is_no_number_spoils_the_line() {
        for line in ["circwindow", "circwindow=", "circwindow=+5", "x=1.5", "x=2147483648", "=x"] {
            assert_eq!(Params::parse(line.split(' ')), None, "{line}");
        }
        assert_eq!(Params::parse("".split_whitespace()), Some(Params::default()));
    }
}
