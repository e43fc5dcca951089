//! Functions that `#[tool]` refuses.
use agent_core::tool;
/// Not async.
#[tool]
fn blocking(city: String) -> Result<String, tool::ToolError> {
    Ok(city)
}

#[tool]
async fn undocumented(city: String) -> Result<String, tool::ToolError> {
    Ok(city)
}

/// Borrows.
#[tool]
async fn borrows(city: &str) -> Result<String, tool::ToolError> {
    Ok(city.to_owned())
}

/// No type.
#[tool]
async fn nothing(city: String) {
    drop(city);
}

/// Unknown option.
#[tool(nmae = "x")]
async fn option(city: String) -> Result<String, tool::ToolError> {
    Ok(city)
}

/// Not a result.
#[tool]
async fn plain(city: String) -> String {
    city
}

fn main() {}
