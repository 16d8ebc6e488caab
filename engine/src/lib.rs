//! Containers, volumes, networks and projects: observe, plan, execute.
