"""Who may do what: the roles of a warehouse, and their rights."""

from gpwarehouse.roles.rights import RightsChange, rights_changes, roles_in_use, surplus_attributes
from gpwarehouse.roles.roles import Roles

__all__ = ["RightsChange", "Roles", "rights_changes", "roles_in_use", "surplus_attributes"]
