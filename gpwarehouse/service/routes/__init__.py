"""The endpoints, a module for each door of the warehouse."""
