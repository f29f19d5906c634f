"""Who may do what: the roles of a warehouse, and their rights."""

from gpwarehouse.roles.audit import Access, Audit
from gpwarehouse.roles.rights import RightsChange, rights_changes, roles_in_use, surplus_attributes
from gpwarehouse.roles.roles import Roles

__all__ = ["Access", "Audit", "RightsChange", "Roles", "rights_changes", "roles_in_use", "surplus_attributes"]
