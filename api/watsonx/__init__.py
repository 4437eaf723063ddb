"""The watsonx Orchestrate dialect: the same runs and threads, spoken of otherwise."""
