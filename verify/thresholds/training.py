"""Thresholds of training: how long, how many, how fast."""

from __future__ import annotations

from maxmargin.verify.thresholds.table import named

# A row's name, value and unit stand in its first line.
# fmt: off

STEPS = named("STEPS", {"quick": 30_000, "full": 400_000}, "steps",
    "of a black box with a short memory",
    "after 2e4 steps gaps are 3e-3 to 2e-2, after 1e5 8e-4 to 8e-3; a minute, an hour")
FAST_MEMORY = named("FAST_MEMORY", 0.05, "lag limit",
    "above it STEPS suffice; a longer memory is given more steps, up to MORE times",
    "chosen: a memory of 20 steps; the pace follows the lag limit")
MORE = named("MORE", {"quick": 2.0, "full": 10.0}, "times STEPS", "most that a long memory is given", "chosen: time")
LONGER_RUN = named("LONGER_RUN", 4.0, "times the steps",
    "at least, where a run may decide what the one before did not; and, where a gap does not close in time, at this "
    "fraction of its pace",
    "AdaBelief with a memory of 1,000 steps: 0.21 after 4e6 steps on a linear model, and hardly closing; at a quarter "
    "of the pace 0.041, and like t^-0.8")
SEEDS_APART = named("SEEDS_APART", 1000, "seeds",
    "between those of one case of a claim",
    "run i of a batch starts from its seed plus i")
LONGER_CLAIM = named("LONGER_CLAIM", 10, "times the steps",
    "that a claim's run takes in the full tier where fewer leave it open, and the same once more",
    "a decade, over which gaps are compared")
LONGEST_CLAIM = named("LONGEST_CLAIM", 20_000_000, "steps",
    "of a claim's run at most",
    "minutes for a network under the spectral norm")
CONNECT = named("CONNECT", 10.0, "seconds", "within which a Dask scheduler has to answer")
LONGEST_RUN = named("LONGEST_RUN", 16.0, "times the quick tier's steps",
    "at most; what needs more is left to the full tier, which takes LONGER_RUN times its own at most",
    "minutes")
LAST_OWN_RUN = named("LAST_OWN_RUN", 24.0, "times the quick tier's steps",
    "at most, of a black box's run whose gap closes",
    "minutes; a memory of 1,000 steps: 5e-2 from the optimal face after 9e5 to 1.2e6")
LAST_RUN = named("LAST_RUN", 64.0, "times the quick tier's steps",
    "at most, of a run of the engine whose gap closes at the slowest pace that is tried",
    "minutes; Adamax on a network: its direction moved by 0.076 in the last half decade of 6e7 steps, 0.083 in the one "
    "before; after 2.6e8 it holds")
NEEDED_MARGIN = named("NEEDED_MARGIN", 1.25, "times the steps that seem to be needed",
    "are made, and of the last run, where there is no time for four times as many",
    "they are read off a slope")
ENGINE_STEPS = named("ENGINE_STEPS", {"quick": 400_000, "full": 4_000_000}, "steps",
    "of an optimizer that the engine runs",
    "a native step takes about 0.5 µs, up to 6 with a polar factor: seconds; a memory of 1,000 steps is decided on "
    "networks after 4e6 (gaps of 3e-2 under linf)")
ENGINE_MORE = named("ENGINE_MORE", {"quick": 10.0, "full": 10.0}, "times ENGINE_STEPS",
    "most that a long memory is given",
    "time")
LINEAR_RUNS = named("LINEAR_RUNS", {"quick": 1, "full": 2}, "initializations",
    "on a linear model, whose limit is one face",
    "convexity")
NETWORK_RUNS = named("NETWORK_RUNS", {"quick": 2, "full": 6}, "initializations",
    "on a network, where some never separate",
    "time")
LINEAR_START = named("LINEAR_START", 0.01, "scale", "of the initialization of a linear model")
NETWORK_START = named("NETWORK_START", 0.02, "scale",
    "of the initialization of a network: a direction forgets its start only like a power of ‖θ₀‖/‖θ‖",
    "6e4 steps from 0.5 leave gaps of 6e-3 (l2) and 1e-1 (linf), from 0.02 2e-4 and 5e-3")
MIXED = named("MIXED", 0.15, "of the pace",
    "where matrices and vectors follow different rules: a lagging Adam steps by κ < 1, a polar factor does not, and "
    "that acts as a weight between the blocks which stalls the gap (κ → 1 as the pace falls)",
    "Muon-Adam at the full pace stalls at gaps of 0.08 to 0.1 under the unit-ratio hybrid norm")
SEEN_AFTER = named("SEEN_AFTER", 0.5, "of the engine's pace",
    "most that a black box goes at: its controller learns speeds from steps taken, so it keeps the worst margin "
    "itself, not the smallest alone, within the lag limit",
    "see schedules.Paced.following")
SPEED_FORGETS = named("SPEED_FORGETS", 0.99, "per step", "the controller's memory of the fastest margin")
RATE_GROWTH = named("RATE_GROWTH", 0.5, "of itself, per step", "most that the learning rate grows by")
FIRST_STEP = named("FIRST_STEP", 1e-3, "ℓ2", "length of the first step, before anything is known")
IDLE = named("IDLE", 1e3, "times the first rate", "most that it is raised before anything moves: it may be waiting")
RATE_FLOOR = named("RATE_FLOOR", 1e-60, "of the largest rate so far",
    "steps that do not shrink with their learning rate would drive it to 0",
    "an average on its way to where it was sent long ago")
DRIFT = named("DRIFT", 20, "log₂", "a run is rescaled when its gradient's scale has drifted this far")
REACH = named("REACH", 500.0, "log₂",
    "of the largest state that a rescaling may leave, and of the largest factor it uses at once",
    "float64 holds 2^1023; squares of it must not overflow")
SHORT_REACH = named("SHORT_REACH", 60.0, "log₂",
    "of the smallest gradient that is fed to state in float32 or shorter, where its size is left as it is",
    "float32 holds 2^−126 in full; squares must not underflow: PSGD-Kron leaves NaN at 1e-37")
TRIAL = named("TRIAL", 30, "steps", "for which one joint instance and separate ones are compared")
SAME_JOINTLY = named("SAME_JOINTLY", 1e-12, "relative",
    "a difference of their weights that is rounding",
    "119 of 130 optimizers tried are bit-identical")
CHECKED = named("CHECKED", 499, "steps",
    "between two of a run of one parameter that are made on its blocks, too",
    "a millisecond each; a prime, so that what happens every so often does at one of them")
SNAPSHOT = named("SNAPSHOT", 10.0, "seconds", "between two snapshots of a run under way")
SPOKEN = named("SPOKEN", 64, "steps", "between two reports of a black box's progress")
PLAIN_STEPS = named("PLAIN_STEPS", (2_000, 10_000), "steps",
    "fewest and most for which an optimizer is left to itself, to see when its gradient falls below an eps",
    "time: a second")
PLAIN_MEMORIES = named("PLAIN_MEMORIES", 10.0, "times the memory", "of those steps: moments must have settled by then")
PARENT_LOOK = named("PARENT_LOOK", 1.0, "seconds", "between two looks of a worker for the run that it works for")
