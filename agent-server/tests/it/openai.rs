//! OpenAI's chat completions from outside, over every agent.
