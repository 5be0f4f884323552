"""The project: settings, timetable, routes and the commands that join both rooms."""
