"""A network whose package nobody has."""

import a_package_that_nobody_has.layers  # noqa: F401
