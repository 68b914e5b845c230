"""Programs that use the library: they build, train, execute and publish what is shipped."""
