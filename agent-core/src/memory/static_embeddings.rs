//! Meanings without a network: a static embedding model (Model2Vec) read from a folder.

use std::{fmt, path::Path, sync::Arc};

use futures::future::BoxFuture;
use model2vec_rs::model::StaticModel;

use super::{Embedder, MemoryError};

/// Tokens of a text that count; what follows is left out.
const TOKENS: usize = 512;
/// Texts worked on at once.
const BATCH: usize = 256;
/// Largest file of a model.
const FILE_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// A static embedding model: a vector for each token, the text's is their mean. Fast on a plain processor, and nothing
/// leaves the machine. Weights are not part of the program: `folder` holds `config.json`, `tokenizer.json` and
/// `model.safetensors`, as the models at `huggingface.co/minishlab` do (for Korean a multilingual one).
///
/// The first 512 tokens of a text count.
#[derive(Clone)]
pub struct StaticEmbeddings(Arc<StaticModel>);

impl StaticEmbeddings {
    /// Reads a model. Blocks while it reads: the files have some megabytes.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Embedder`] that names the file that is missing, larger than 4 GiB, or no model.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, MemoryError> {
        let folder = folder.as_ref();
        let read = |name: &str| {
            let failed = |error: std::io::Error| broken(format!("`{name}` cannot be read: {error}"));
            let path = folder.join(name);
            if std::fs::metadata(&path).map_err(failed)?.len() > FILE_BYTES {
                return Err(broken(format!("`{name}` is larger than {FILE_BYTES} bytes")));
            }
            std::fs::read(path).map_err(failed)
        };
        let (tokenizer, model, config) =
            (read("tokenizer.json")?, read("model.safetensors")?, read("config.json")?);
        let model = StaticModel::from_bytes(tokenizer, model, config, None)
            .map_err(|error| broken(format!("the folder holds no static embedding model: {error}")))?;
        if model.dim() == 0 {
            return Err(broken("its vectors have no numbers".to_owned()));
        }
        Ok(Self(Arc::new(model)))
    }
}

fn broken(reason: String) -> MemoryError {
    MemoryError::Embedder { reason }
}

impl Embedder for StaticEmbeddings {
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, MemoryError>> {
        Box::pin(async move {
            let (model, texts) = (Arc::clone(&self.0), texts.to_vec());
            let work = move || model.encode_with_args(&texts, Some(TOKENS), BATCH);
            tokio::task::spawn_blocking(work).await.map_err(|error| broken(error.to_string()))
        })
    }

    fn dimensions(&self) -> usize {
        self.0.dim()
    }
}

impl fmt::Debug for StaticEmbeddings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticEmbeddings").field("dimensions", &self.0.dim()).finish_non_exhaustive()
    }
}
