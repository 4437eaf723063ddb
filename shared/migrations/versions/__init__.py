"""One file a migration; each suits the release before it."""
