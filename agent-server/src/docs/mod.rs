//! API documents: [`openapi`] for routes, [`asyncapi`] for the WebSocket, [`errors`] with a page per error code.
//! [`page`] renders Markdown, [`assets`] contains Swagger UI and Redoc.

pub(crate) mod assets;
pub(crate) mod asyncapi;
pub(crate) mod errors;
pub(crate) mod openapi;
pub(crate) mod page;
