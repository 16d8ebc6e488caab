//! Answers what the front end asks: what image names and named contexts stand for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rbuild_frontend::lower::{Answer, Asked, ImageAnswer, Question, Target, without_credentials};
use rbuild_image::archive::LayoutImage;
use rbuild_images::{LayerState, Progress, PullPolicy as ImagePullPolicy};
use rbuild_model::digest::{BlobDigest, ChainId};
use rbuild_model::event::{Event, Unit};
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_model::snapshot::Chain;
use rbuild_model::step::{ImagePin, ImageSource, Source};

use crate::cancel::Cancel;
use crate::context::{self, Seat};
use crate::error::{BuildError, StepError};
use crate::request::{BuildRequest, Client, NamedContext, PullPolicy};
use crate::tasks::{Task, Tasks};
use crate::worker::Worker;

/// What the targets of one build know of each other.
#[derive(Default)]
pub(crate) struct Others {
    /// What came out of those before, by name.
    targets: HashMap<String, Vec<Target>>,
    /// What image names stood for, so that they stand for the same in all of the build.
    images: HashMap<(Question, PullPolicy), Answer>,
}

impl Others {
    /// Keeps what comes out of a target.
    pub(crate) fn add(&mut self, name: &str, targets: Vec<Target>) {
        self.targets.insert(name.to_owned(), targets);
    }

    /// Returns what a question about an image was answered before.
    pub(crate) fn image(&self, question: &Question, pull: PullPolicy) -> Option<&Answer> {
        self.images.get(&(question.clone(), pull))
    }

    /// Keeps what an image name stands for.
    pub(crate) fn keep(&mut self, question: &Question, pull: PullPolicy, answer: &Answer) {
        if matches!(question, Question::Image { .. }) {
            self.images.insert((question.clone(), pull), answer.clone());
        }
    }

    /// Returns what comes out of a target for a platform; what was built for one only will do for any.
    fn target(&self, name: &str, platform: &Platform) -> Option<&Target> {
        match &self.targets.get(name)?[..] {
            [only] => Some(only),
            several => several.iter().find(|target| target.requested == *platform),
        }
    }
}

/// Answers one question.
pub(crate) fn answer(
    worker: &Worker,
    request: &BuildRequest,
    seat: Seat<'_, '_>,
    others: &Others,
    asked: &Asked,
    tasks: &Tasks,
    cancel: &Cancel,
) -> Result<Answer, BuildError> {
    match &asked.question {
        Question::Image { reference, platform, any_platform: _ } => {
            image(worker, request, asked, reference, platform, tasks, cancel)
        }
        Question::Time { source } => {
            context::time(worker, source, seat.client(), tasks, cancel).map(Answer::Time)
        }
        Question::Context { name, platform } => match request.contexts.get(name) {
            Some(NamedContext::Local) => Ok(Answer::Tree(Source::Local(seat.folder(name)?))),
            Some(NamedContext::Scratch) => Ok(Answer::Tree(Source::Scratch)),
            Some(NamedContext::Image(reference)) => {
                image(worker, request, asked, reference, platform, tasks, cancel)
            }
            Some(NamedContext::Git(url)) => match context::git_source(url) {
                Ok(source) => Ok(Answer::Tree(Source::Git(source))),
                Err(source) => Err(unresolved(&without_credentials(url), asked, source)),
            },
            Some(NamedContext::Web(url)) => Ok(Answer::Tree(Source::Http(context::web_source(url)))),
            Some(NamedContext::Layout(wanted)) => {
                layout(worker, seat.client(), asked, name, wanted, platform, tasks, cancel)
            }
            Some(NamedContext::Target(target)) => others
                .target(target, platform)
                .map(|target| Answer::Target(Box::new(target.clone())))
                .ok_or_else(|| unresolved(target, asked, format!("it is not built for {platform}"))),
            None => Err(BuildError::Unsupported { what: format!("the named context {name}") }),
        },
    }
}

/// Takes an image of an OCI layout in.
#[expect(clippy::too_many_arguments, reason = "the parts of one question")]
fn layout(
    worker: &Worker,
    client: &dyn Client,
    asked: &Asked,
    name: &str,
    wanted: &LayoutImage,
    platform: &Platform,
    tasks: &Tasks,
    cancel: &Cancel,
) -> Result<Answer, BuildError> {
    let task = tasks.begin(format!("[context {name}] load from an OCI layout"));
    let tree = client.local(name)?;
    let shown = tree.path.display().to_string();
    let progress = LayerProgress::new(&task, tasks);
    let lease = worker.lease().map_err(|error| BuildError::Store(error.into()))?;
    let resolved = worker.images.resolve_layout(tree.root, wanted, platform, lease, &progress);
    drop(progress);
    task.finish_by(&resolved);
    if cancel.is_cancelled() {
        return Err(BuildError::Cancelled);
    }
    Ok(image_answer(name.to_owned(), resolved.map_err(|error| unresolved(&shown, asked, error))?))
}

fn unresolved(
    name: &str,
    asked: &Asked,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> BuildError {
    BuildError::Resolve {
        name: name.to_owned(),
        location: Some(asked.location.clone()),
        help: asked.near.as_ref().map(|near| format!("did you mean `{near}`?")),
        source: source.into(),
    }
}

fn image(
    worker: &Worker,
    request: &BuildRequest,
    asked: &Asked,
    reference: &Reference,
    platform: &Platform,
    tasks: &Tasks,
    cancel: &Cancel,
) -> Result<Answer, BuildError> {
    let task = tasks.begin(format!("[internal] load metadata for {reference}"));
    let progress = LayerProgress::new(&task, tasks);
    let policy = match request.pull {
        PullPolicy::Missing => ImagePullPolicy::Missing,
        PullPolicy::Always => ImagePullPolicy::Always,
        PullPolicy::Never => ImagePullPolicy::Never,
    };
    let resolved = worker.resolve(reference, platform, policy, &progress);
    drop(progress);
    task.finish_by(&resolved);
    if cancel.is_cancelled() {
        return Err(BuildError::Cancelled);
    }
    let resolved = resolved.map_err(|error| unresolved(&reference.familiar(), asked, error))?;
    Ok(image_answer(reference.to_string(), resolved))
}

fn image_answer(name: String, resolved: rbuild_images::Resolved) -> Answer {
    let pin = ImagePin {
        manifest: resolved.digest,
        image: resolved.image,
        chain: ChainId::of(&resolved.config.rootfs.diff_ids),
    };
    Answer::Image(Box::new(ImageAnswer {
        name,
        pin,
        platform: resolved.config.platform(),
        config: resolved.config,
    }))
}

impl Worker {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
        policy: ImagePullPolicy,
        progress: &dyn Progress,
    ) -> Result<rbuild_images::Resolved, rbuild_images::ImagesError> {
        let lease = self.lease()?;
        self.images.resolve_base(reference, platform, policy, lease, progress)
    }

    /// Makes the layers of a pinned image ready.
    pub(crate) fn image_chain(
        &self,
        source: &ImageSource,
        task: &Task,
        cancel: &Cancel,
    ) -> Result<Chain, StepError> {
        let progress = LayerProgress { task, tasks: None, sizes: Mutex::default() };
        if cancel.is_cancelled() {
            return Err(StepError::Cancelled);
        }
        self.images
            .ready(source.pin.image, source.pin.manifest, self.lease()?, &progress)
            .map(|resolved| resolved.chain)
            .map_err(|error| StepError::Image { name: source.name.clone(), source: error.into() })
    }
}

/// Tells how far the layers of an image are.
pub(crate) struct LayerProgress<'a> {
    task: &'a Task,
    tasks: Option<&'a Tasks>,
    sizes: Mutex<HashMap<BlobDigest, u64>>,
}

impl<'a> LayerProgress<'a> {
    pub(crate) fn new(task: &'a Task, tasks: &'a Tasks) -> Self {
        Self { task, tasks: Some(tasks), sizes: Mutex::default() }
    }
}

impl Progress for LayerProgress<'_> {
    fn layer(&self, layer: BlobDigest, state: LayerState) {
        let part = format!("sha256:{}", &layer.hex()[..12]);
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            LayerState::Transferring { current, total } => {
                sizes.insert(layer, total);
                // The last byte is told when the layer is done.
                self.task.progress(&part, current.min(total.saturating_sub(1)), Some(total), Unit::Bytes);
            }
            LayerState::Transferred | LayerState::Complete => {
                if let Some(total) = sizes.remove(&layer) {
                    self.task.progress(&part, total, Some(total), Unit::Bytes);
                }
            }
            LayerState::AlreadyExists | LayerState::Waiting | LayerState::Unpacking | LayerState::Mounted => {
            }
        }
    }

    fn note(&self, text: &str) {
        if let Some(tasks) = self.tasks {
            tasks.events().event(Event::Note(text.to_owned()));
        }
    }
}
