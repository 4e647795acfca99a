use super::*;
use crate::state::TrainingLength;
use candle_core::Tensor;
use dash_nn::{Init, ParamBuilder, Sgd};
use std::path::Path;

fn network() -> (Params, Sgd) {
    let mut params = ParamBuilder::new(7, 0, &dash_nn::Backend::cpu());
    params.weight("a", 3, Init::Constant(1.5)).unwrap();
    params.weight("b", (2, 2), Init::Constant(-2.0)).unwrap();
    let params = params.finish();
    let sgd = Sgd::new(&params, 0.9, 0.0).unwrap();
    (params, sgd)
}

fn values(tensors: &[(String, Tensor)]) -> Vec<(String, Vec<f32>)> {
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1().unwrap();
    tensors.iter().map(|(name, t)| (name.clone(), flat(t))).collect()
}

const LENGTH: TrainingLength = TrainingLength { epochs: 4, steps: 5 };

fn epoch(epoch: usize, score: Option<f64>) -> Epoch {
    Epoch { epoch, learning_rate: 0.1, train_loss: 1.0 / 3.0, score }
}

/// A training with a state of any kind.
#[derive(Clone, Default)]
struct Training {
    position: TrainingPosition,
    history: Vec<Epoch>,
    recovery: Option<Recovery>,
    state: AnyState,
}

#[derive(Clone, Default)]
struct AnyState {
    stored: StoredState,
    without_history: bool,
}

impl StageState for AnyState {
    fn has_history(&self) -> bool {
        !self.without_history
    }

    fn store(&self) -> StoredState {
        self.stored.clone()
    }

    fn load(&mut self, stored: StoredState, epochs: usize) -> Result<(), String> {
        if stored.best.as_ref().is_some_and(|best| best.epoch >= epochs) {
            return Err("refused by its stage".to_owned());
        }
        self.stored = stored;
        Ok(())
    }
}

/// A checkpoint of a training in `folder`.
fn save(folder: &Path, training: &Training) {
    let (params, sgd) = network();
    let Training { position, history, recovery, state } = training;
    let (position, recovery) = (*position, recovery.as_ref());
    let snapshot = Snapshot { position, params: &params, optimizer: &sgd, recovery, history, state };
    Checkpoints::new(folder.to_owned(), "one", None).save(&snapshot).unwrap();
}

/// The checkpoint of the stage "one", with the number of finished trials.
fn open(folder: &Path, state: &mut AnyState) -> Result<Option<(Checkpoint, usize)>, Refusal> {
    Checkpoints::new(folder.to_owned(), "one", None).open(LENGTH, state)
}

/// Why a checkpoint is refused as damaged.
fn damage(folder: &Path) -> String {
    match open(folder, &mut AnyState::default()) {
        Err(Refusal::Damaged(reason)) => reason,
        Err(Refusal::Newer(format)) => panic!("newer: {format}"),
        Ok(found) => panic!("{found:?}"),
    }
}

/// In the second epoch, with the best network of the first.
fn trained() -> Training {
    let tensors = network().0.state().unwrap();
    let start = EpochStart { state: tensors.clone(), optimizer: tensors.clone() };
    let stored = StoredState {
        series: vec![("alpha.stem".to_owned(), vec![vec![0.1, 0.2]])],
        best: Some(BestModel { epoch: 0, value: 0.5, tensors }),
        trials: Vec::new(),
    };
    Training {
        position: TrainingPosition { epoch: 1, step: 2, loss: 1.5 },
        history: vec![epoch(0, Some(0.5))],
        recovery: Some(Recovery { start: Some(start), used: false }),
        state: AnyState { stored, without_history: false },
    }
}

#[test]
fn everything_comes_back_bit_by_bit() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(".search.checkpoint");
    let mut state = AnyState::default();
    assert!(matches!(open(&folder, &mut state), Ok(None)));
    let (params, sgd) = network();
    let training = Training {
        position: TrainingPosition { epoch: 2, step: 5, loss: 0.1 + 0.2 },
        history: vec![epoch(0, None), epoch(1, Some(f64::INFINITY))],
        state: AnyState {
            stored: StoredState {
                series: vec![("alpha.stem".to_owned(), vec![vec![0.1, f32::NAN], vec![0.2, 0.3]])],
                best: Some(BestModel { epoch: 1, value: f64::INFINITY, tensors: params.state().unwrap() }),
                trials: Vec::new(),
            },
            without_history: false,
        },
        ..trained()
    };
    save(&folder, &training);
    let (before, momentum) = (values(&params.state().unwrap()), values(&sgd.state().unwrap()));

    let Ok(Some((found, 0))) = open(&folder, &mut state) else { panic!("not found") };
    let (other, mut other_sgd) = network();
    other.iter().for_each(|p| p.var().set(&p.var().zeros_like().unwrap()).unwrap());
    found.restore(&other, &mut other_sgd).unwrap();
    assert_eq!(values(&other.state().unwrap()), before);
    assert_eq!(values(&other_sgd.state().unwrap()), momentum);
    assert_eq!(found.position, training.position);
    assert_eq!(found.history, training.history);
    assert_eq!(format!("{:?}", state.stored.series), format!("{:?}", training.state.stored.series));
    let recovery = found.recovery.unwrap();
    assert_eq!(values(&recovery.start.unwrap().state), before);
    assert!(!recovery.used);
    let best = state.stored.best.unwrap();
    assert_eq!((best.epoch, best.value), (1, f64::INFINITY));
    let mut tensors = values(&best.tensors);
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(tensors, before);
}

#[test]
fn a_tuning_comes_back_with_its_trials() {
    let dir = tempfile::tempdir().unwrap();
    let trials = vec![Some(1e-7), None];
    let stored = StoredState { trials: trials.clone(), ..StoredState::default() };
    let mut training = Training { state: AnyState { stored, without_history: true }, ..Training::default() };
    // The second form is that of earlier versions for a trial whose network is evaluated.
    for (epoch, step) in [(3, 5), (4, 0)] {
        training.position = TrainingPosition { epoch, step, loss: 0.0 };
        save(dir.path(), &training);
        let mut state = AnyState { without_history: true, ..AnyState::default() };
        let Ok(Some((found, 2))) = open(dir.path(), &mut state) else { panic!("not found") };
        assert_eq!(found.position, TrainingPosition { epoch: 3, step: 5, loss: 0.0 });
        assert_eq!(state.stored.trials, trials);
    }
}

#[test]
fn any_bit_of_any_file_of_a_checkpoint_is_noticed_and_the_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &trained());
    let Ok(Some(_)) = open(dir.path(), &mut AnyState::default()) else { panic!("not found") };
    let mut names: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [BEST, HISTORY, MANIFEST, MOMENTUM, START_MOMENTUM, START, STATE]);
    for name in names {
        let path = dir.path().join(&name);
        let bytes = std::fs::read(&path).unwrap();
        // All bits of the manifest, and some of the files whose hashes it holds.
        let stride = if name == MANIFEST { 1 } else { bytes.len() / 7 };
        for place in (0..bytes.len()).step_by(stride) {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[place] ^= 1 << bit;
                #[allow(clippy::disallowed_methods, reason = "damage needs no atomic publish")]
                std::fs::write(&path, &other).unwrap();
                let reason = damage(dir.path());
                assert!(reason.contains(&name), "{reason} after bit {bit} of byte {place} of {name}");
            }
        }
        dash_store::publish_file(&path, &bytes).unwrap();
    }
    assert!(matches!(open(dir.path(), &mut AnyState::default()), Ok(Some(_))));
}

#[test]
fn a_position_that_a_stage_cannot_have_come_to_is_refused() {
    type Change = fn(&mut Training);
    let wrong: [(Change, &str); 7] = [
        (|t| t.position.epoch = 6, "stands at step 2 of epoch 7"),
        (|t| t.position.epoch = 2, "history does not hold"),
        (|t| t.position.epoch = 0, "history does not hold"),
        (|t| t.position.step = 6, "stands at step 6"),
        (|t| t.position.loss = f64::NAN, "sum of losses is NaN"),
        (|t| t.history[0].epoch = 1, "history does not hold"),
        (|t| t.state.stored.best.as_mut().unwrap().epoch = 1, "refused by its stage"),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (i, (change, reason)) in wrong.into_iter().enumerate() {
        let mut training = trained();
        change(&mut training);
        save(dir.path(), &training);
        let found = damage(dir.path());
        assert!(found.contains(reason), "{i}: {found}");
    }
    // Trials have no history, and other stages do not end with a position behind the last epoch.
    let behind = TrainingPosition::start_of(4);
    save(dir.path(), &Training { position: behind, ..trained() });
    assert!(damage(dir.path()).contains("stands at step 0 of epoch 5"));
}

#[test]
fn training_does_not_resume_from_another_stage_a_newer_format_or_missing_files() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("c");
    save(&folder, &Training::default());
    let two = Checkpoints::new(folder.clone(), "two", None);
    assert!(matches!(two.open(LENGTH, &mut AnyState::default()), Ok(None)));
    for name in [STATE, MOMENTUM, HISTORY] {
        save(&folder, &Training::default());
        dash_store::remove(&folder.join(name)).unwrap();
        assert!(damage(&folder).contains(name), "{name}");
    }
    dash_store::remove(&folder.join(MANIFEST)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.join(MANIFEST)).unwrap();
    assert_eq!(damage(&folder), "manifest.json is a device, not a plain file");
    let write = |value: &serde_json::Value| {
        let text = dash_store::seal(value, &folder).unwrap();
        dash_store::publish_file(&folder.join(MANIFEST), &text).unwrap();
    };
    write(&serde_json::json!({ "format": 4 }));
    assert!(matches!(open(&folder, &mut AnyState::default()), Err(Refusal::Newer(4))));
    save(&folder, &Training::default());
    let text = std::fs::read(folder.join(MANIFEST)).unwrap();
    let dash_store::Unsealed::Intact(mut manifest) = dash_store::unseal(&text) else { panic!("no seal") };
    manifest["files"]["../history.parquet"] = manifest["files"][HISTORY].clone();
    write(&manifest);
    assert!(damage(&folder).contains("its manifest names \"../history.parquet\""));
}

/// Collects warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl dash_core::event::Listener for Warnings {
    fn on(&self, event: &Event) {
        if let Event::Warning { message } = event {
            self.0.lock().unwrap().push(message.clone());
        }
    }
}

#[test]
fn training_resumes_from_checkpoints_of_earlier_versions_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &trained());
    let path = dir.path().join(MANIFEST);
    let text = std::fs::read(&path).unwrap();
    let dash_store::Unsealed::Intact(mut manifest) = dash_store::unseal(&text) else { panic!("no seal") };
    for format in [1, 2] {
        manifest["format"] = format.into();
        dash_store::publish_file(&path, manifest.to_string().as_bytes()).unwrap();
        let checkpoints = Checkpoints::new(dir.path().to_owned(), "one", None);
        let heard = Warnings::default();
        assert!(checkpoints.load(LENGTH, &mut AnyState::default(), &heard).unwrap().is_some());
        assert!(heard.0.lock().unwrap()[0].contains("earlier version"));
        // What can be checked without the hash is checked.
        manifest["epoch"] = 3.into();
        dash_store::publish_file(&path, manifest.to_string().as_bytes()).unwrap();
        assert!(checkpoints.load(LENGTH, &mut AnyState::default(), &heard).unwrap().is_none());
        assert!(heard.0.lock().unwrap()[1].contains("damaged and not used"));
        manifest["epoch"] = 1.into();
    }
    // A format that has a hash over itself, without it.
    manifest["format"] = 3.into();
    dash_store::publish_file(&path, manifest.to_string().as_bytes()).unwrap();
    assert_eq!(damage(dir.path()), "manifest.json has lost the hash of itself");
}

#[test]
fn checkpoints_cost_a_small_share_of_the_time() {
    let checkpoints = Checkpoints::new(PathBuf::from("nowhere"), "", None);
    assert!(!checkpoints.is_due());
    let at = |last: u64, cost| {
        let last = Instant::now().checked_sub(Duration::from_secs(last)).unwrap();
        *checkpoints.clock.lock().unwrap() =
            Clock { last, cost: Duration::from_secs(cost), total: CheckpointStats::default() };
        checkpoints.is_due()
    };
    assert!(at(61, 1) && !at(59, 1) && !at(90, 2) && at(101, 2));
    assert!(Checkpoints::new(PathBuf::new(), "", Some(Duration::ZERO)).is_due());
}
