//! The tool `search_documents`.

use agent_core::tool::{Tool, ToolContext, ToolError, ToolPolicy};
use schemars::JsonSchema;
use serde::Deserialize;

use super::documents::{Documents, Passage};

/// Most passages that one call returns.
const PASSAGES: usize = 5;

/// The tool `search_documents`; see [`Documents::tool`].
///
/// # Examples
///
/// ```
/// # use agent_core::{memory::InMemoryStore, model::WordEmbeddings};
/// use agent_core::tool::AnyTool;
/// use agent_tools::retrieval::Documents;
///
/// # let memory = InMemoryStore::new().with_embedder(std::sync::Arc::new(WordEmbeddings));
/// let tool = AnyTool::new(Documents::new(memory, "handbook")?.tool());
/// assert_eq!(tool.name(), "search_documents");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SearchDocuments {
    documents: Documents,
    description: String,
}

impl SearchDocuments {
    pub(super) fn new(documents: Documents) -> Self {
        let description = format!(
            "Searches the documents `{}`. Returns at most {PASSAGES} passages with their sources.",
            documents.name()
        );
        Self { documents, description }
    }
}

/// What to look for.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct SearchDocumentsArgs {
    /// What to look for, as a question or in words.
    #[schemars(length(min = 1, max = 2_000))]
    pub query: String,
}

impl Tool for SearchDocuments {
    type Args = SearchDocumentsArgs;
    type Output = Vec<Passage>;

    fn name(&self) -> &str {
        "search_documents"
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::read_only()
    }

    async fn call(&self, args: SearchDocumentsArgs, _: &ToolContext) -> Result<Vec<Passage>, ToolError> {
        self.documents.search(&args.query, PASSAGES).await.map_err(|error| {
            ToolError::failed("the documents could not be searched").with_cause(error.to_string())
        })
    }
}
